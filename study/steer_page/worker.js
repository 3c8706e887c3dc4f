// The page's other half, in a worker: writes texts and measures, a slice at a time, for whoever asks last at each place.

let model;
const jobs = new Map(); // by place on the page: what is being made for it
const SLICE_MS = 25;
const still = new MessageChannel(); // comes back after waiting messages were heard, sooner than a timer
let working = false;

function* work({ place, job, reader, state, prompt, length, seed, shown, texts }) {
  const bias = Network.biasOf(model, reader, state);
  const post = (found) => postMessage({ place, job, ...found });
  let signs = [];
  for (const sign of Network.written(model, bias, prompt, length, seed, shown)) {
    signs.push(sign);
    yield () => {
      post({ signs });
      signs = [];
    };
  }
  post({ signs });
  let last;
  for (last of Network.measured(model, bias, texts)) yield () => {};
  post({ measured: last });
}

function turn() {
  for (const [place, steps] of [...jobs]) {
    const until = performance.now() + SLICE_MS;
    let step;
    do step = steps.next();
    while (!step.done && performance.now() < until);
    if (step.done) jobs.delete(place);
    else step.value();
  }
  working = jobs.size > 0;
  if (working) still.port2.postMessage(null);
}

still.port1.onmessage = turn;
onmessage = ({ data }) => {
  if (data.weights) model = Network.load(data.facts, data.weights);
  else jobs.set(data.place, work(data));
  if (!working && jobs.size) {
    working = true;
    still.port2.postMessage(null);
  }
};
