"use strict";
// The browser of samples. Its data stands in the page, deflated; whatever comes from there is put in as text, never as
// markup (trusted types hold the script to that). What is chosen stands in the address: #of=…&outcome=…&case=…&q=…&id=…
(async () => {
  const PAGE = 50; // samples that are listed at once
  const { el, put, pre, folded, readJson, pretty, isObject, difference } = PageText;
  const byId = (id) => document.getElementById(id);
  const form = byId("filters"), list = byId("list"), more = byId("more");

  const trouble = (said) => {
    byId("trouble").textContent = said;
    byId("trouble").hidden = false;
  };

  // --- data -----------------------------------------------------------------------------------

  async function unpacked() {
    const raw = atob(byId("data").textContent);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return JSON.parse(await new Response(inflated).text());
  }

  let data;
  try {
    data = await unpacked();
  } catch (error) {
    trouble(`The samples cannot be unpacked here (${error.message}). A browser of 2023 or later can; they are in samples.jsonl too.`);
    return;
  }
  const { ids, systems, facets } = data;

  const expectedOf = (i) => readJson(data.expected[i]).value;

  function expectedText(expected) {
    if (expected.calls) return expected.calls.map((it) => `${it.name} ${pretty(it.arguments)}`).join("\n");
    if (expected.value !== undefined) return pretty(expected.value);
    return expected.text || "(an answer without a call)";
  }

  // --- one sample -----------------------------------------------------------------------------

  const STATES = { r: ["✓", "right"], w: ["✗", "wrong"], u: ["?", "not judged"], e: ["!", "engine error"], m: ["–", "not there"] };
  const stateOf = (system, i) => systems[system].state[i];
  const reasonOf = (system, i) => systems[system].reasons[systems[system].why[i]];
  const labelOf = (name) => data.labels[name] || name.replaceAll("_", " ");

  function faultsOf(system, i) {
    const { wrong, faults } = systems[system], said = wrong ? [wrong[i]].flat() : [];
    if (!said.length) return null;
    const line = ({ fault, path, said, times, counts, given, nearest, more }) => el("li", {}, more ? `and ${more} more` : [
      el("span", { class: "chip" }, counts === false ? `(${fault})` : fault), " ", el("code", {}, path), " ", el("span", { dir: "auto" }, said), times > 1 ? `, ${times} times` : "",
      nearest === undefined ? null : el("span", { class: "given" }, "given ", el("code", {}, given ?? "–"), ", nearest valid ", el("code", {}, nearest))]);
    return [el("p", { class: "role" }, "faults"), el("ul", { class: "faults" }, said.map((n) => line(faults[n])))];
  }

  function answer(system, i, expected) {
    const { name, text, scores, facts } = systems[system], state = stateOf(system, i);
    const figures = Object.entries(scores).filter(([, of]) => of[i] !== null).map(([metric, of]) => `${labelOf(metric)} ${of[i]}`);
    const others = Object.entries(facts).filter(([, of]) => of[i] !== null && of[i] !== false).map(([key, of]) => `${labelOf(key)} ${isObject(of[i]) ? JSON.stringify(of[i]) : of[i]}`);
    return el("article", { class: `answer ${STATES[state][1].replace(" ", "-")}` },
      el("h4", {}, name, " ", el("span", { class: "state" }, `${STATES[state][0]} ${STATES[state][1]}`)),
      reasonOf(system, i) ? el("p", { class: "why", dir: "auto" }, reasonOf(system, i)) : null,
      faultsOf(system, i),
      text[i] ? difference(expected, text[i], state === "r") : null,
      state === "m" ? null : [el("p", { class: "role" }, "given"), text[i] ? pre(text[i]) : el("p", { class: "note" }, "(nothing)")],
      el("p", { class: "note" }, [...figures, ...others].join(" · ")));
  }

  const contentOf = (turn) => {
    const rest = turn.tool_calls ? pretty(turn.tool_calls) : "";
    const content = turn.content === null || turn.content === undefined ? "" : typeof turn.content === "string" ? turn.content : pretty(turn.content);
    return [content, rest].filter(Boolean).join("\n");
  };
  const askedOf = (i) => contentOf(data.prompts[data.prompt[i]].findLast((turn) => turn.role === "user") || {});

  function turnOf(turn) {
    const said = contentOf(turn), role = String(turn.role || "");
    if (said.length > 1500 && role !== "user") return folded(`${role}, ${said.length.toLocaleString("en")} characters`, () => pre(said));
    return [el("p", { class: "role" }, role), pre(said)];
  }

  function toolsOf(i, expected) {
    const offered = data.toolsets[data.offered[i]], wanted = new Set((expected.calls || []).map((it) => it.name));
    if (!offered.length) return null;
    const tool = (number) => {
      const it = readJson(data.tools[number])?.value || {};
      return el("div", { class: "tool" }, el("p", {}, el("b", {}, it.name), wanted.has(it.name) ? " (expected)" : "", " ", el("span", { class: "soft", dir: "auto" }, it.description)),
        it.parameters ? pre(pretty(it.parameters)) : null);
    };
    return folded(offered.length === 1 ? "1 tool offered" : `${offered.length} tools offered`, () => offered.map(tool));
  }

  function detailOf(i) {
    const expected = expectedOf(i), { of, against } = chosen, shown = against < 0 ? [of] : [against, of];
    const rest = systems.map((_, n) => n).filter((n) => !shown.includes(n) && stateOf(n, i) !== "m");
    const about = [ids[i], data.groups[i] && `group ${data.groups[i]}`, ...facets.filter((it) => it.of.length === 1).flatMap((it) => valuesOf(it, i).map((n) => `${it.title.toLowerCase()} ${it.said[n]}`))];
    return [
      data.prompts[data.prompt[i]].map(turnOf), toolsOf(i, expected),
      el("p", { class: "role" }, "expected"), pre(expectedText(expected)),
      el("div", { class: "answers" }, shown.map((n) => answer(n, i, expected))),
      rest.length ? folded(rest.length === 1 ? "One more answer" : `${rest.length} more answers`, () => el("div", { class: "answers" }, rest.map((n) => answer(n, i, expected)))) : null,
      el("p", { class: "note" }, about.filter(Boolean).join(" · ")),
    ];
  }

  // --- choosing -------------------------------------------------------------------------------

  const judged = (state) => state === "r" || state === "w";
  const OUTCOMES = {
    any: ["all", () => true],
    failed: ["failed", (a) => a !== "r" && a !== "m"],
    right: ["right", (a) => a === "r"],
    unjudged: ["not judged", (a) => a === "u" || a === "e"],
    changed: ["one right, one wrong", (a, b) => judged(a) && judged(b) && a !== b],
    gained: ["right, the other wrong", (a, b) => a === "r" && b === "w"],
    lost: ["wrong, the other right", (a, b) => a === "w" && b === "r"],
    both: ["both wrong", (a, b) => a === "w" && b === "w"],
  };
  const OF_TWO = new Set(["changed", "gained", "lost", "both"]); // those that need another system beside
  const isOutcome = (name, i) => OUTCOMES[name][1](stateOf(chosen.of, i), chosen.against < 0 ? "m" : stateOf(chosen.against, i));
  const clear = () => ({ of: data.start.of, against: data.start.against, outcome: "any", q: "", id: "", facets: {} });
  let chosen = { ...clear(), outcome: data.start.outcome };
  let found = [], listed = 0, open = -1;

  const valuesOf = (facet, i) => {
    const value = facet.of[facet.of.length === 1 ? 0 : chosen.of][i];
    return Array.isArray(value) ? value : [value];
  };

  let searched = null; // the text of every sample, in small letters, of the two systems that are shown
  function textOf(i) {
    const key = `${chosen.of} ${chosen.against}`;
    if (!searched || searched.key !== key) searched = { key, texts: [] };
    return searched.texts[i] ??= [ids[i], data.expected[i], ...data.prompts[data.prompt[i]].map(contentOf),
      ...[chosen.of, chosen.against].filter((n) => n >= 0).flatMap((n) => [systems[n].text[i] || "", reasonOf(n, i)])].join("\n").toLowerCase();
  }

  /** Whether a sample passes what is chosen, but for the filter `but`. */
  function passes(i, but) {
    if (but !== "outcome" && !isOutcome(chosen.outcome, i)) return false;
    for (const facet of facets) {
      const value = chosen.facets[facet.name];
      if (value !== undefined && but !== facet.name && !valuesOf(facet, i).includes(value)) return false;
    }
    return !chosen.q || textOf(i).includes(chosen.q.toLowerCase());
  }

  function offer() {
    const counts = Object.fromEntries(Object.keys(OUTCOMES).map((name) => [name, 0]));
    const values = facets.map((facet) => new Uint32Array(facet.values.length));
    const all = facets.map(() => 0);
    for (let i = 0; i < ids.length; i++) {
      if (passes(i, "outcome")) for (const name in OUTCOMES) counts[name] += isOutcome(name, i);
      facets.forEach((facet, n) => {
        if (!passes(i, facet.name)) return;
        all[n]++;
        for (const value of valuesOf(facet, i)) values[n][value]++;
      });
    }
    fill(form.outcome, Object.entries(OUTCOMES).filter(([name]) => chosen.against >= 0 || !OF_TWO.has(name)).map(([name, [said]]) => [name, `${said} (${counts[name]})`]), chosen.outcome);
    facets.forEach((facet, n) => fill(form.elements[`facet-${n}`],
      [["", `all (${all[n]})`], ...facet.said.map((said, v) => [String(v), `${said} (${values[n][v]})`])], chosen.facets[facet.name] ?? ""));
  }

  function fill(select, options, value) {
    select.replaceChildren(...options.map(([it, said]) => el("option", { value: it }, said)));
    select.value = String(value);
  }

  // --- the list -------------------------------------------------------------------------------

  function mark(system, i) {
    const [sign, said] = STATES[stateOf(system, i)];
    return el("span", { class: `chip ${said.replace(" ", "-")}` }, el("span", { "aria-hidden": "true" }, `${sign} `), systems[system].name, el("span", { class: "vh" }, ` ${said}`));
  }

  function row(place) {
    const i = found[place], { of, against } = chosen;
    const button = el("button", { type: "button", "aria-expanded": "false", "aria-controls": `sample-${place}`, on: { click: () => toggle(place) } },
      el("span", { class: "asked", dir: "auto" }, askedOf(i).slice(0, 300)),
      el("span", { class: "chips" }, against < 0 ? null : mark(against, i), mark(of, i),
        reasonOf(of, i) ? el("span", { class: "reason", dir: "auto" }, reasonOf(of, i).slice(0, 200)) : null));
    return el("li", {}, el("h3", {}, button), el("div", { id: `sample-${place}`, class: "detail", hidden: true }));
  }

  function extend(upTo) {
    const start = listed;
    listed = Math.min(found.length, Math.max(upTo, listed));
    for (let place = start; place < listed; place++) list.append(row(place));
    more.hidden = listed === found.length;
    more.textContent = `Show ${Math.min(PAGE, found.length - listed)} more`;
    tell();
  }

  function tell() {
    const all = found.length === ids.length ? "" : ` of ${ids.length.toLocaleString("en")}`;
    const part = listed < found.length ? `, the first ${listed} listed` : "";
    byId("count").replaceChildren();
    put(byId("count"), `${found.length.toLocaleString("en")}${all} samples${part}: ${systems[chosen.of].name}, ${OUTCOMES[chosen.outcome][0]}`);
  }

  const buttonAt = (place) => list.children[place].querySelector("button");

  function toggle(place, shut = false) {
    const button = buttonAt(place), detail = list.children[place].lastElementChild;
    const opens = !shut && button.getAttribute("aria-expanded") === "false";
    button.setAttribute("aria-expanded", String(opens));
    detail.hidden = !opens;
    detail.replaceChildren(...(opens ? detailOf(found[place]).flat(Infinity).filter(Boolean) : []));
    open = opens ? place : open === place ? -1 : open;
    chosen.id = open < 0 ? "" : ids[found[open]];
    remember();
  }

  function move(by, opening) {
    const here = list.contains(document.activeElement) ? [...list.children].findIndex((it) => it.contains(document.activeElement)) : open;
    const place = Math.max(0, here + by);
    if (place >= found.length) return;
    extend(place + 1);
    if (opening && place !== open) {
      if (open >= 0) toggle(open, true);
      if (buttonAt(place).getAttribute("aria-expanded") === "false") toggle(place);
    }
    buttonAt(place).focus({ preventScroll: true });
    list.children[place].scrollIntoView({ block: opening ? "start" : "nearest" });
  }

  function show() {
    found = [];
    for (let i = 0; i < ids.length; i++) if (passes(i)) found.push(i);
    listed = 0;
    open = -1;
    list.replaceChildren();
    const wanted = chosen.id ? found.indexOf(ids.indexOf(chosen.id)) : -1;
    extend(Math.max(PAGE, wanted + 1));
    offer();
    if (wanted >= 0) toggle(wanted);
    else chosen.id = "";
  }

  // --- the address ----------------------------------------------------------------------------

  const indexOf = (name, otherwise) => {
    const place = systems.findIndex((system) => system.name === name);
    return place < 0 ? otherwise : place;
  };

  function remember() {
    const said = new URLSearchParams(), { of, against, outcome, q, id } = chosen;
    said.set("outcome", outcome);
    if (of !== data.start.of) said.set("of", systems[of].name);
    if (against !== data.start.against) said.set("against", against < 0 ? "" : systems[against].name);
    for (const facet of facets) if (chosen.facets[facet.name] !== undefined) said.set(facet.name, facet.values[chosen.facets[facet.name]]);
    if (q) said.set("q", q);
    if (id) said.set("id", id);
    try { // a frame without a history of its own goes without
      history.replaceState(null, "", `#${said}`);
    } catch { /* the page works all the same */ }
  }

  function recall(said) {
    chosen = clear();
    chosen.of = indexOf(said.get("of"), chosen.of);
    if (said.has("against")) chosen.against = indexOf(said.get("against"), -1);
    chosen.outcome = Object.hasOwn(OUTCOMES, said.get("outcome") || "") ? said.get("outcome") : said.has("id") ? "any" : data.start.outcome;
    for (const facet of facets) {
      const value = facet.values.indexOf(said.get(facet.name));
      if (value >= 0) chosen.facets[facet.name] = value;
    }
    chosen.q = said.get("q") || "";
    chosen.id = said.get("id") || "";
    read();
  }

  /** From what is chosen to the form and the list. */
  function read() {
    if (chosen.against === chosen.of) chosen.against = -1;
    const names = systems.map((system, n) => [String(n), system.name]);
    fill(form.of, names, chosen.of);
    fill(form.against, [["-1", "nothing"], ...names.filter(([n]) => Number(n) !== chosen.of)], chosen.against);
    if (chosen.against < 0 && OF_TWO.has(chosen.outcome)) chosen.outcome = "any";
    form.q.value = chosen.q;
    show();
  }

  /** From the form to what is chosen. */
  function changed() {
    chosen.of = Number(form.of.value);
    chosen.against = Number(form.against.value);
    chosen.outcome = form.outcome.value;
    chosen.q = form.q.value;
    chosen.facets = {};
    facets.forEach((facet, n) => {
      const { value } = form.elements[`facet-${n}`];
      if (value !== "") chosen.facets[facet.name] = Number(value);
    });
    read();
    remember();
  }

  // --- hands ----------------------------------------------------------------------------------

  facets.forEach((facet, n) => byId("facets").append(el("label", {}, facet.title, " ", el("select", { name: `facet-${n}` }))));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => event.target !== form.q && changed());
  let typing = 0;
  form.q.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(changed, 150);
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    chosen = clear();
    read();
    remember();
  });
  more.addEventListener("click", () => {
    const place = listed;
    extend(listed + PAGE);
    buttonAt(place).focus();
  });

  document.addEventListener("keydown", (event) => {
    const inForm = event.target.closest && event.target.closest("input, select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && event.target === form.q) {
      form.q.value = "";
      changed();
      return form.q.blur();
    }
    if (event.key === "ArrowDown" && event.target === form.q && found.length) return event.preventDefault(), move(0 - open, false);
    if (inForm) return;
    const letters = byId("keys").checked;
    const act = {
      "/": letters && (() => form.q.focus()),
      j: letters && (() => move(1, true)),
      k: letters && (() => move(-1, true)),
      ArrowDown: list.contains(event.target) && (() => move(1, false)),
      ArrowUp: list.contains(event.target) && (() => move(-1, false)),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  for (const head of document.querySelectorAll("[data-filter]")) {
    const link = el("a", { href: `#${head.dataset.filter}` });
    link.append(...head.childNodes);
    head.append(link);
  }
  addEventListener("hashchange", () => {
    if (!location.hash.includes("=")) return;
    recall(new URLSearchParams(location.hash.slice(1)));
    byId("samples").scrollIntoView();
    byId("samples-title").focus({ preventScroll: true });
  });

  byId("browser").hidden = false;
  if (location.hash.includes("=")) recall(new URLSearchParams(location.hash.slice(1)));
  else read();
  document.documentElement.dataset.ready = "yes";
  performance.mark("samples");
})();
