"use strict";
// What the browser of samples says of an answer: text that cannot become markup, JSON without losing a digit, and how
// what was expected and what was given differ.
const PageText = (() => {
  const MOST_ROWS = 500; // of one comparison; the whole answer stands below it
  const MOST_DEPTH = 200;
  const MOST_PAIRS = 1e4; // of calls
  const MOST_WORDS = 2e6; // of one text times those of the other

  // --- text -----------------------------------------------------------------------------------

  // What cannot be seen, or turns the direction of its surroundings, is named; joiners only where a difference is shown.
  const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/u;
  const SPLIT = new RegExp(`(${UNSEEN.source})`, "u");

  function put(node, said) {
    String(said).split(SPLIT).forEach((part, i) => {
      if (!part) return;
      if (i % 2 === 0) return node.append(part);
      const mark = document.createElement("span");
      mark.className = "unseen";
      mark.textContent = `U+${part.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
      node.append(mark);
    });
    return node;
  }

  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
      else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    for (const child of children.flat(Infinity)) {
      if (child instanceof Node) node.append(child);
      else if (child !== null && child !== undefined && child !== "") put(node, child);
    }
    return node;
  }

  const pre = (said) => el("pre", { dir: "auto" }, said);
  const folded = (title, make, open = false) => {
    const node = el("details", { open }, el("summary", {}, title));
    const fill = () => node.open && node.children.length === 1 && node.append(...[make()].flat(Infinity).filter(Boolean));
    node.addEventListener("toggle", fill);
    fill();
    return node;
  };

  // --- JSON, without losing a digit -----------------------------------------------------------

  class Digits { // a number that a double would change
    constructor(source) { this.source = source; }
  }
  const whole = (value, source) => String(value) === source || Number.isSafeInteger(value)
    || (Number.isFinite(value) && source.replace(/[eE].*/, "").replace(/\D/g, "").replace(/^0+/, "").length < 16);
  const exact = (key, value, context) =>
    typeof value === "number" && context && !whole(value, context.source) ? new Digits(context.source) : value;
  const isObject = (value) => value !== null && typeof value === "object" && !(value instanceof Digits);

  function readJson(said) {
    try {
      return { value: JSON.parse(said, exact) };
    } catch {
      return null;
    }
  }

  const leaf = (value) => value instanceof Digits ? value.source : JSON.stringify(value);

  function pretty(value, indent = "") {
    if (!isObject(value)) return leaf(value);
    const inner = `${indent}  `, list = Array.isArray(value);
    const parts = Object.keys(value).map((key) => `${inner}${list ? "" : `${JSON.stringify(key)}: `}${pretty(value[key], inner)}`);
    const [open, close] = list ? "[]" : "{}";
    const line = `${open}${parts.map((part) => part.trim()).join(", ")}${close}`;
    return line.length < 80 && !line.includes("\n") ? line : `${open}\n${parts.join(",\n")}\n${indent}${close}`;
  }

  /** Its leaves by path ("stops[0].city"), into a Map. Throws where it is deeper than anybody reads. */
  function leaves(value, path = "", into = new Map(), depth = 0) {
    if (depth > MOST_DEPTH) throw new RangeError("too deep");
    const keys = isObject(value) ? Object.keys(value) : [];
    if (!keys.length) return into.set(path, leaf(value));
    for (const key of keys) {
      const step = Array.isArray(value) ? `[${key}]` : /^[\p{L}\p{N}_$-]+$/u.test(key) ? `${path && "."}${key}` : `[${JSON.stringify(key)}]`;
      leaves(value[key], path + step, into, depth + 1);
    }
    return into;
  }

  // --- what an answer says --------------------------------------------------------------------

  const BLOCK = /<tool_call>([\s\S]*?)(?:(<\/tool_call>)|(?=<tool_call>)|$)/g;
  const isCall = (value) => isObject(value) && typeof value.name === "string" && Object.hasOwn(value, "arguments");
  const call = (value) => {
    const held = typeof value.arguments === "string" ? readJson(value.arguments) : null;
    return { name: value.name, arguments: held ? held.value : value.arguments };
  };

  function callsIn(said) {
    if (said.includes("<tool_call>")) {
      const found = [...said.matchAll(BLOCK)].map((block) => block[2] && readJson(block[1])?.value);
      return { calls: found.filter(isCall).map(call), unreadable: found.filter((value) => !isCall(value)).length };
    }
    const read = /^\s*\[/.test(said) ? readJson(said) : null; // an answer that was held to a schema is an array of calls
    return read && Array.isArray(read.value) && read.value.every(isCall) ? { calls: read.value.map(call), unreadable: 0 } : null;
  }

  const unfenced = (said) => {
    const inner = said.replace(/^\s*<think>[\s\S]*?<\/think>/, "").trim();
    const fence = /^```[a-z]*\s*\n([\s\S]*)```$/i.exec(inner);
    return fence ? fence[1] : inner;
  };

  // --- differences ----------------------------------------------------------------------------

  const KINDS = { same: ["=", "as expected"], other: ["≠", "another value"], missing: ["−", "missing"], extra: ["+", "not expected"] };

  function rowsOf(expected, given, title = "") {
    const paths = new Set([...expected.keys(), ...given.keys()]);
    return [...paths].map((path) => {
      const [want, got] = [expected.get(path), given.get(path)];
      const kind = want === undefined ? "extra" : got === undefined ? "missing" : want === got ? "same" : "other";
      return { where: title + path, want, got, kind };
    });
  }

  /** Each expected call beside the given one that is likest: the likest two first, the others in order. */
  function pairs(expected, given) {
    const [wanted, left] = [expected, given].map((calls) => calls.map((it) => ({ name: it.name, leaves: leaves(it.arguments) })));
    const likeness = (want, got) => (want.name === got.name ? 1e6 : 0)
      + [...want.leaves].filter(([path, value]) => got.leaves.get(path) === value).length - Math.abs(want.leaves.size - got.leaves.size) / 1e3;
    const likest = wanted.length * left.length > MOST_PAIRS ? []
      : wanted.flatMap((want) => left.map((got) => [likeness(want, got), want, got])).sort((one, other) => other[0] - one[0]);
    const found = new Map(), taken = new Set();
    const take = (want, got) => found.has(want) || taken.has(got) || (found.set(want, got), taken.add(got));
    for (const [, want, got] of likest) take(want, got);
    for (const want of wanted) if (!found.has(want)) found.set(want, left.find((got) => !taken.has(got) && taken.add(got)) || null);
    return [...wanted.map((want) => [want, found.get(want)]), ...left.filter((got) => !taken.has(got)).map((got) => [null, got])];
  }

  function callRows(expected, given) {
    const none = new Map(), both = pairs(expected, given);
    return both.flatMap(([want, got], i) => {
      const number = both.length > 1 ? ` ${i + 1}` : "";
      const head = rowsOf(new Map(want ? [["", want.name]] : []), new Map(got ? [["", got.name]] : []), `call${number}`);
      const real = ([path]) => path !== ""; // a call without arguments has no rows
      return [...head, ...rowsOf(new Map([...(want ? want.leaves : none)].filter(real)), new Map([...(got ? got.leaves : none)].filter(real)))];
    });
  }

  function table(rows) {
    const cell = (said) => el("td", { dir: "auto" }, said === undefined ? el("span", { class: "soft" }, "–") : said);
    const line = ({ where, want, got, kind }) => el("tr", { class: kind },
      el("td", { class: "mark", title: KINDS[kind][1] }, el("span", { "aria-hidden": "true" }, KINDS[kind][0]), el("span", { class: "vh" }, KINDS[kind][1])),
      el("th", { scope: "row" }, where), cell(want), cell(got));
    const heads = ["", "", "expected", "given"].map((head) => el("th", { scope: "col" }, head));
    const rest = rows.length - MOST_ROWS;
    return [
      el("table", { class: "diff" }, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows.slice(0, MOST_ROWS).map(line))),
      rest > 0 ? el("p", { class: "note" }, `${rest} more rows are not listed here; the whole answer is below.`) : null,
    ];
  }

  /** Two texts word by word: what is only expected is struck out, what is only given underlined. */
  function words(want, got) {
    const [a, b] = [want, got].map((said) => said.match(/[\p{L}\p{N}_]+|\s+|[^\p{L}\p{N}_\s]/gu) || []);
    let start = 0, end = 0;
    while (start < Math.min(a.length, b.length) && a[start] === b[start]) start++;
    while (end < Math.min(a.length, b.length) - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
    const [x, y] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
    const node = el("pre", { class: "words", dir: "auto" }, a.slice(0, start).join(""));
    for (const [kind, said] of changes(x, y)) node.append(kind ? el(kind, {}, said) : put(document.createElement("span"), said));
    return put(node, end ? a.slice(a.length - end).join("") : "");
  }

  /** [kind, text] of the longest common subsequence of two lists of words; all of one and all of the other where they are long. */
  function changes(x, y) {
    if (x.length * y.length > MOST_WORDS) return [["del", x.join("")], ["ins", y.join("")]].filter(([, said]) => said);
    const wide = y.length + 1, length = new Uint32Array((x.length + 1) * wide);
    for (let i = x.length - 1; i >= 0; i--)
      for (let j = y.length - 1; j >= 0; j--)
        length[i * wide + j] = x[i] === y[j] ? length[(i + 1) * wide + j + 1] + 1 : Math.max(length[(i + 1) * wide + j], length[i * wide + j + 1]);
    const found = [];
    const add = (kind, word) => found.length && found.at(-1)[0] === kind ? (found.at(-1)[1] += word) : found.push([kind, word]);
    let i = 0, j = 0;
    while (i < x.length || j < y.length) {
      if (i < x.length && j < y.length && x[i] === y[j]) add("", x[i++]), j++;
      else if (j === y.length || (i < x.length && length[(i + 1) * wide + j] >= length[i * wide + j + 1])) add("del", x[i++]);
      else add("ins", y[j++]);
    }
    return found;
  }

  /** Expected against given, as calls, as a JSON value or as text; nothing where there is nothing to compare. */
  function difference(expected, said, right) {
    try {
      const found = callsIn(said), wanted = (expected.calls || []).map(call);
      if (wanted.length || (found && found.calls.length)) {
        const note = !found ? "No call was made." : found.unreadable ? `${found.unreadable} call(s) cannot be read.` : null;
        return [note ? el("p", { class: "note" }, note) : null, wanted.length && !found ? null : table(callRows(wanted, found ? found.calls : []))];
      }
      if (expected.value !== undefined) {
        const read = readJson(unfenced(said));
        return read ? table(rowsOf(leaves(expected.value), leaves(read.value))) : el("p", { class: "note" }, "This is no JSON.");
      }
    } catch {
      return el("p", { class: "note" }, "Too deep to be compared.");
    }
    return expected.text && !right ? words(expected.text, said) : null;
  }

  return { el, put, pre, folded, readJson, pretty, isObject, difference };
})();
