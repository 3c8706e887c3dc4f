"use strict";
// A text with its dial, its numbers and its bars; and the dial alone. They know nothing of what stands behind them.

const SHOWN = 6; // bars of what could come next
const LARGEST_ENTROPY = 3; // nats, at which the ground of a character is darkest
const MARKS = { " ": "␣", "\n": "↵" };

/** A number with so many digits and a true minus sign. */
function plain(value, digits, signed = false) {
  const text = Math.abs(value).toFixed(digits);
  const sign = Number(text) === 0 ? "" : value < 0 ? "−" : signed ? "+" : "";
  return sign + text;
}

/**
 * A dial in `root`: from -end to end, or from 0 on. Calls `turned(norm)` as it is turned.
 * Marks the usual length; what lies beyond `saturates` is hatched.
 */
function makeDial(root, { end, usual, saturates }, bothWays, turned) {
  const input = root.querySelector("input");
  const track = root.querySelector(".track");
  const steps = 40;
  const low = bothWays ? -1 : 0;
  Object.assign(input, { min: low * steps, max: steps, step: 1, value: 0 });
  const place = (share) => `${(100 * (share - low)) / (1 - low)}%`;
  const add = (name, from, to) => {
    const mark = document.createElement("span");
    mark.className = name;
    mark.style.left = place(from);
    if (to !== undefined) mark.style.width = `calc(${place(to)} - ${place(from)})`;
    track.append(mark);
  };
  for (const side of bothWays ? [-1, 1] : [1]) {
    if (saturates !== null)
      add("zone", ...[(side * saturates) / end, side].sort((one, other) => one - other));
    add("tick", (side * usual) / end);
  }
  if (bothWays) add("zero", 0);
  let exact = 0; // the norm itself: a slider has steps
  const norm = () => exact;
  const tell = () => {
    const ends = root.querySelectorAll(".ends span");
    root.querySelector("output").textContent = `length ${plain(Math.abs(exact), 2)}`;
    const way = bothWays && norm() ? `, ${ends[norm() < 0 ? 0 : 1].textContent}` : "";
    input.setAttribute("aria-valuetext", `length ${plain(Math.abs(norm()), 2)}${way}; usually ${plain(usual, 2)}`);
  };
  input.addEventListener("input", () => {
    exact = (Number(input.value) / steps) * end;
    tell();
    turned(exact);
  });
  tell();
  return {
    norm,
    set(to) {
      exact = to;
      input.value = Math.round((to / end) * steps);
      tell();
    },
  };
}

/** A panel from the page's template. `ask` sends a request to the worker; its answers come back through `hear`. */
function makePanel(place, label, facts, ask) {
  const root = document.getElementById("panel").content.firstElementChild.cloneNode(true);
  const find = (selector) => root.querySelector(selector);
  const text = find(".text");
  const bars = find(".next ol");
  const [entropyChange, lossChange] = root.querySelectorAll(".change");
  let job = 0;
  let signs = [];
  let fresh = false; // whether the text on show is of an earlier request
  let chosen = 0;
  let found = null; // entropy and loss under the state that was asked for last
  let zero = null; // and with no state at all

  find(".badge").textContent = label;
  text.setAttribute("aria-label", `Text ${label}. Arrow keys go along its characters.`);
  for (let row = 0; row < SHOWN; row++) {
    const line = document.createElement("li");
    for (const name of ["sign", "odds", "share"]) line.append(Object.assign(document.createElement("span"), { className: name }));
    bars.append(line);
  }

  function choose(at) {
    if (!signs.length) return;
    text.querySelector(".chosen")?.classList.remove("chosen");
    chosen = Math.max(0, Math.min(at, signs.length - 1));
    const span = text.querySelectorAll(".sign")[chosen];
    span.classList.add("chosen");
    const before = text.textContent.slice(0, find(".prompt").textContent.length + chosen);
    find(".next .named").textContent = `after “${before.slice(-8).replaceAll("\n", "↵")}”`;
    signs[chosen].likely.forEach(([token, odds], row) => {
      const line = bars.children[row];
      const sign = facts.signs[token];
      line.children[0].textContent = MARKS[sign] ?? sign;
      line.children[1].style.setProperty("--odds", odds);
      line.children[2].textContent = `${Math.round(100 * odds)} %`;
      line.classList.toggle("drawn", token === signs[chosen].token);
    });
  }

  function write(more) {
    if (fresh) {
      text.querySelectorAll(".sign").forEach((span) => span.remove());
      signs = [];
      fresh = false;
    }
    for (const sign of more) {
      const span = document.createElement("span");
      span.className = "sign";
      span.textContent = facts.signs[sign.token];
      span.style.setProperty("--unsure", Math.min(1, sign.entropy / LARGEST_ENTROPY).toFixed(2));
      text.append(span);
      signs.push(sign);
    }
    choose(chosen);
  }

  function tell() {
    if (!found) return;
    find(".entropy").textContent = plain(found.entropy, 3);
    find(".loss").textContent = plain(found.loss, 3);
    if (!zero) return;
    entropyChange.textContent = plain(found.entropy - zero.entropy, 3, true);
    lossChange.textContent = plain(found.loss - zero.loss, 3, true);
  }

  text.addEventListener("click", ({ target }) => {
    if (target.classList.contains("sign")) choose([...text.querySelectorAll(".sign")].indexOf(target));
  });
  text.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    choose(chosen + step);
  });

  return {
    root,
    dial: root.querySelector(".dial"),
    /** What the panel is called from now on. */
    name(title) {
      find("h3").textContent = title;
    },
    /** Asks for a text and the numbers under a state; what is on its way for an earlier request is dropped. */
    request({ reader, state, prompt, seed }) {
      job += 1;
      if (text.dataset.prompt !== prompt.join()) {
        const grey = Object.assign(document.createElement("span"), { className: "prompt" });
        grey.textContent = prompt.map((token) => facts.signs[token]).join("");
        text.replaceChildren(grey);
        text.dataset.prompt = prompt.join();
        signs = [];
      }
      fresh = true;
      root.setAttribute("aria-busy", "true");
      ask({ place, job, reader, state, prompt, seed, shown: SHOWN });
    },
    hear(answer) {
      if (answer.job !== job) return;
      if (answer.signs?.length) write(answer.signs);
      if (answer.measured) {
        found = answer.measured;
        tell();
        root.removeAttribute("aria-busy");
      }
    },
    /** What is measured with no state, which changes are told against. */
    against(measured) {
      zero = measured;
      tell();
    },
  };
}
