// Orders the list by any fusion weight, without another call: see lists.py for what it is given.
"use strict";

(() => {
  const given = document.getElementById("candidates");
  if (!given) return;
  const { alpha: servedAlpha, served, items, bounds } = JSON.parse(given.textContent);
  const body = document.querySelector("#list tbody");
  const row = document.getElementById("row").content.firstElementChild;
  const slider = document.getElementById("alpha");
  const status = document.getElementById("list-status");
  const asServed = status.textContent;
  const places = new Map(served.map((one, place) => [one.id, place + 1]));
  const size = Number(document.getElementById("size").value);
  const total = (one) => one.short + one.long + one.popularity;
  let announcement = 0;

  // The list under α, best first; items have their parts with α in them.
  function listOf(alpha) {
    return items
      .map((one) => ({ ...one, short: alpha * one.short, long: (1 - alpha) * one.long }))
      .sort((a, b) => total(b) - total(a))
      .slice(0, size);
  }

  // The highest score that an item can have that is not among the candidates.
  function boundOf(alpha) {
    const right = Math.max(1, bounds.findIndex((end) => end.alpha >= alpha));
    const [a, b] = [bounds[right - 1], bounds[right]];
    if (a.score === null || b.score === null) return -Infinity;
    const share = (alpha - a.alpha) / (b.alpha - a.alpha);
    return (1 - share) * a.score + share * b.score;
  }

  function show(list) {
    body.replaceChildren(...list.map((one, n) => rowOf(one, n + 1)));
    drawParts(list);
  }

  function rowOf(one, place) {
    const made = document.importNode(row, true);
    const set = (name, text) => (made.querySelector(`td.${name}`).textContent = text);
    set("place", place);
    set("served", places.get(one.id) ?? "–");
    set("categories", one.categories);
    for (const name of ["short", "long", "popularity"]) set(name, one[name].toFixed(3));
    set("score", total(one).toFixed(3));
    const link = made.querySelector("a");
    const address = new URL(link.href);
    address.searchParams.set("item", one.id);
    if (slider.dataset.moved) address.searchParams.set("alpha", slider.value);
    link.href = address;
    link.textContent = one.title;
    return made;
  }

  // Parts above zero go to the right of a common zero, those below it to the left.
  function drawParts(list) {
    const names = ["short", "long", "popularity"];
    const sum = (one, sign) => names.reduce((all, name) => all + Math.max(0, sign * one[name]), 0);
    const left = Math.max(0, ...list.map((one) => sum(one, -1)));
    const width = left + Math.max(0, ...list.map((one) => sum(one, 1))) || 1;
    list.forEach((one, n) => {
      const ends = { 1: left, "-1": left };
      const bars = names.map((name) => {
        const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        const length = Math.abs(one[name]);
        const from = one[name] >= 0 ? ends[1] : ends[-1] - length;
        one[name] >= 0 ? (ends[1] += length) : (ends[-1] -= length);
        for (const [key, value] of Object.entries({ x: from, width: length }))
          bar.setAttribute(key, ((100 * value) / width).toFixed(2));
        bar.setAttribute("height", 8);
        bar.setAttribute("class", name);
        return bar;
      });
      body.rows[n].querySelector("svg").replaceChildren(...bars);
    });
  }

  function announce(text) {
    clearTimeout(announcement);
    // A screen reader reads the last of many steps alone.
    announcement = setTimeout(() => (status.textContent = text), 250);
  }

  function move() {
    // Beyond the outer lists, which are nearer than a step, nothing is known of other items.
    const alpha = Math.min(Math.max(Number(slider.value), bounds[0].alpha), bounds.at(-1).alpha);
    slider.dataset.moved = "yes";
    document.getElementById("why-alpha").value = slider.value;
    slider.setAttribute("aria-valuetext", `α ${slider.value}`);
    const list = listOf(alpha);
    show(list);
    const exact = list.filter((one) => total(one) >= boundOf(alpha)).length;
    const share = exact === list.length ? `All ${exact} places are exact` : `The first ${exact} of ${list.length} places are exact`;
    announce(`α = ${slider.value}. ${share}, as far as the index finds the best items. First: ${list[0].title}.`);
  }

  function reset() {
    delete slider.dataset.moved;
    slider.value = servedAlpha;
    slider.setAttribute("aria-valuetext", `α ${servedAlpha.toFixed(2)}`);
    document.getElementById("why-alpha").value = "";
    show(served);
    announce(asServed);
  }

  drawParts(served);
  if (!items.length) return;
  slider.addEventListener("input", move);
  document.getElementById("as-served").addEventListener("click", reset);
  slider.setAttribute("aria-valuetext", `α ${servedAlpha.toFixed(2)}`);
  document.getElementById("mixer").hidden = false;
})();
