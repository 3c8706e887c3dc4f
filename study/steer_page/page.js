"use strict";
// What happens on the page: the blind duel, and states that are put in by hand. Order and score live here, not in the document.

(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const LENGTH = 160; // characters to write
  const byId = (id) => document.getElementById(id);
  const scaled = (direction, norm) => direction.map((each) => each * norm);
  const lengthOf = (state) => Math.hypot(...state);
  const chance = (count) => Math.floor(Math.random() * count);
  const ofKind = (kind) => facts.readers.filter((reader) => reader.kind === kind);
  const checked = (name) => document.querySelector(`input[name=${name}]:checked`)?.value;
  const NAMES = { learned: "learned", rotated: "scrambled", untrained: "untrained" };

  const source = new Blob([byId("worker").textContent], { type: "text/javascript" });
  const worker = new Worker(URL.createObjectURL(source));
  const panels = {};
  worker.postMessage({ facts: { sizes: facts.sizes, arrays: facts.arrays }, weights: byId("weights").textContent });
  byId("weights").remove();
  worker.onmessage = ({ data }) => {
    if (data.place === "zero") for (const panel of Object.values(panels)) data.measured && panel.against(data.measured);
    else panels[data.place].hear(data);
    if (data.signs?.length && !performance.getEntriesByName("first-text").length) performance.mark("first-text");
  };
  const ask = (request) => worker.postMessage({ length: LENGTH, texts: facts.texts, ...request });

  /** Two panels in a section, and the text they go on from. */
  function makePair(section, places, labels) {
    const pair = places.map((place, at) => (panels[place] = makePanel(place, labels[at], facts, ask)));
    section.querySelector(".pair").append(...pair.map((panel) => panel.root));
    const text = { prompt: facts.prompts[0], seed: 1 };
    section.querySelector(".again").addEventListener("click", () => {
      text.prompt = facts.prompts[text.seed % facts.prompts.length];
      text.seed += 1;
      section.dispatchEvent(new Event("again"));
    });
    return [pair, text];
  }

  // ---- the blind duel

  const duel = byId("duel");
  const [sides, duelText] = makePair(duel, ["a", "b"], ["A", "B"]);
  const norms = [0, 0];
  const scores = { rotated: [0, 0], untrained: [0, 0] }; // rounds won, rounds played
  let readers = []; // of A and of B
  let guessed = null;
  let over = false;

  const write = (side) => {
    const reader = readers[side];
    const state = scaled(norms[side] < 0 ? reader.unsure : reader.surer, Math.abs(norms[side]));
    sides[side].request({ reader: reader.name, state, ...duelText });
  };
  const dials = sides.map((panel, side) =>
    makeDial(panel.dial, facts.dial, true, (norm) => {
      for (const each of byId("together").checked ? [0, 1] : [side]) {
        norms[each] = norm;
        if (each !== side) dials[each].set(norm);
        write(each);
      }
    }),
  );
  const buttons = [byId("guess-a"), byId("guess-b")];

  /** The chance that a coin is right at least so often. */
  function byLuck(won, played) {
    let sum = 0;
    let ways = 1; // of choosing k of `played`
    for (let k = 0; k <= played; k++) {
      if (k >= won) sum += ways;
      ways = (ways * (played - k)) / (k + 1);
    }
    return sum / 2 ** played;
  }

  function tellScore() {
    const [won, played] = scores[checked("opponent")];
    byId("score").textContent = played
      ? `Against ${NAMES[checked("opponent")]}: ${won} of ${played} right. A coin does as well or better ${Math.round(100 * byLuck(won, played))} times in 100.`
      : "";
  }

  function guess(side) {
    if (over) return;
    guessed = side;
    buttons.forEach((button, each) => button.setAttribute("aria-pressed", each === side));
    if (side !== null) byId("reveal").focus({ preventScroll: true });
  }

  function reveal() {
    if (over) return begin();
    over = true;
    const learned = readers.findIndex((reader) => reader.kind === "learned");
    if (guessed !== null) {
      const score = scores[checked("opponent")];
      score[1] += 1;
      if (guessed === learned) score[0] += 1;
    }
    const letter = "AB"[learned];
    const said = guessed === null ? "" : guessed === learned ? "Right. " : "No. ";
    byId("verdict").textContent = `${said}${letter} was learned, ${"BA"[learned]} was ${NAMES[readers[1 - learned].kind]}.`;
    sides.forEach((panel, side) => panel.name(NAMES[readers[side].kind]));
    byId("reveal").firstChild.textContent = "Next round ";
    tellScore();
  }

  function begin() {
    const others = ofKind(checked("opponent"));
    readers = [ofKind("learned")[0], others[chance(others.length)]];
    if (chance(2)) readers.reverse();
    over = false;
    guess(null);
    sides.forEach((panel) => panel.name("learned or not?"));
    byId("verdict").textContent = "";
    byId("reveal").firstChild.textContent = "Reveal ";
    tellScore();
    [0, 1].forEach(write);
  }

  buttons.forEach((button, side) => button.addEventListener("click", () => guess(side)));
  byId("reveal").addEventListener("click", reveal);
  byId("opponent").addEventListener("change", begin);
  duel.addEventListener("again", () => [0, 1].forEach(write));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { top, bottom } = byId("reveal").getBoundingClientRect();
    const free = bottom > 0 && top < innerHeight && !event.target.closest("button, select, input:not([type=range])");
    if (event.key === " " && free) {
      event.preventDefault();
      reveal();
    } else if (free && ["a", "b"].includes(event.key.toLowerCase())) guess("ab".indexOf(event.key.toLowerCase()));
  });

  // ---- states that are put in by hand

  const hand = byId("hand");
  const [[steered, control], handText] = makePair(hand, ["steered", "control"], ["1", "2"]);
  const learned = ofKind("learned")[0];
  let state = facts.presets.own; // as it was, whatever the dial makes of its length
  let begun = false;

  function put() {
    const other = checked("control") === "other";
    const foreign = facts.others[byId("seed")?.value];
    const sized = (each, norm) => scaled(each, norm / (lengthOf(each) || 1));
    const reader = other ? learned : ofKind(checked("control"))[0];
    steered.name("learned reader, this state");
    control.name(other ? "control: learned reader, another run’s state" : `control: ${NAMES[reader.kind]} reader, this state`);
    steered.request({ reader: learned.name, state: sized(state, norm.norm()), ...handText });
    control.request({ reader: reader.name, state: sized(other ? foreign : state, norm.norm()), ...handText });
  }

  for (const panel of [steered, control]) panel.dial.remove();
  const norm = makeDial(byId("length"), facts.dial, false, put);
  function take(next) {
    state = lengthOf(next) ? next : state; // of no state the dial goes on with the one before
    norm.set(lengthOf(next));
    put();
  }
  const preset = () => (checked("preset") === "other" ? facts.others[byId("seed").value] : facts.presets[checked("preset")]);
  byId("presets").addEventListener("change", ({ target }) => {
    if (target.id === "seed" && checked("control") !== "other") hand.querySelector("input[value=other]").checked = true;
    if (checked("preset")) take(preset());
    else put();
  });
  byId("control").addEventListener("change", put);
  hand.addEventListener("again", put);
  makeTimeline(hand.querySelector(".plots"), byId("moment"), facts.timeline, (point) => {
    for (const each of document.querySelectorAll("input[name=preset]")) each.checked = false;
    take(facts.timeline.states[point]);
  });

  // ---- the start: the duel's text first, what is out of sight when it comes into sight

  begin();
  ask({ place: "zero", job: 0, reader: learned.name, state: scaled(learned.surer, 0), prompt: facts.prompts[0], length: 0, seed: 0, shown: 0 });
  new IntersectionObserver(([seen]) => {
    if (!seen.isIntersecting || begun) return;
    begun = true;
    take(state);
  }).observe(hand);
})();
