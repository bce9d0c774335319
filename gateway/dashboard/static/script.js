// What pages cannot do alone: follow the present, move by keys, drag the slider, append log lines. All works without it
// but following.
"use strict";

const $ = (what, within = document) => within.querySelector(what);
const slider = $("#slider");

function wireSlider() {
  const range = $("#slider"), number = $("#at");
  if (!range) return;
  range.addEventListener("input", () => { number.value = range.value; });
  range.addEventListener("change", () => range.form.requestSubmit());
}

// Keys. A letter after `g` goes to a page; rows are tables' rows, a graph's events, a log's lines.
const rows = () => [...document.querySelectorAll("main tbody tr, main .graph li")];
let chosen = -1, going = false;

function choose(step) {
  const all = rows();
  if (!all.length) return;
  all[chosen]?.classList.remove("chosen");
  chosen = Math.min(all.length - 1, Math.max(0, chosen + step));
  all[chosen].classList.add("chosen");
  all[chosen].scrollIntoView({ block: "nearest" });
  $("a.open, a", all[chosen])?.focus({ preventScroll: true });
}

function press(key) {
  if (going) {
    going = false;
    return $(`header nav a[data-key="${CSS.escape(key)}"]`)?.click();
  }
  const does = {
    "?": () => $("#keys").togglePopover(),
    g: () => { going = true; setTimeout(() => { going = false; }, 1500); },
    "/": () => $("main [role=search] input, main [role=search] select")?.focus(),
    j: () => choose(1),
    k: () => choose(-1),
    "[": () => $('.time a[rel="prev"]')?.click(),
    "]": () => $('.time a[rel="next"]')?.click(),
    n: () => $("#now")?.click(),
    h: () => $('main a[rel="prev"]')?.click(),
    l: () => $('main a[rel="next"]')?.click(),
  }[key];
  does?.();
  return Boolean(does);
}

document.addEventListener("keydown", (pressed) => {
  if (pressed.altKey || pressed.ctrlKey || pressed.metaKey) return;
  if (pressed.target.closest?.("input, select, textarea")) {
    if (pressed.key === "Escape") pressed.target.blur();
    return;
  }
  if (press(pressed.key)) pressed.preventDefault();
});

// The present: the page is fetched again when something has happened, and what differs is put in its place.
const isBusy = () => document.activeElement?.matches("main input, main select, .time input") || $("#keys:popover-open");

function replace(fresh) {
  const kept = chosen, log = $("#log");
  const opened = [...document.querySelectorAll("main details")].map((each) => each.open);
  const focused = document.activeElement?.closest("main") ? document.activeElement.getAttribute("href") : null;
  if (log) fresh.getElementById("log")?.replaceWith(log);
  for (const part of ["#content", ".time"]) $(part).replaceWith($(part, fresh));
  document.querySelectorAll("main details").forEach((each, index) => { each.open = opened[index] ?? false; });
  wireSlider();
  if (kept >= 0) rows()[kept]?.classList.add("chosen");
  if (focused) $(`main a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

if (document.body.dataset.live) {
  let running = false, again = false;
  const refresh = async () => {
    if (running || isBusy()) { again = running; return; }
    running = true;
    try {
      const answer = await fetch(location.href);
      if (answer.redirected) location.reload();
      else if (answer.ok && !isBusy()) replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } finally {
      running = false;
      if (again) { again = false; setTimeout(refresh, 500); }
    }
  };
  new EventSource("/dashboard/live").onmessage = refresh;
}

// A log's new lines come ready made; who has scrolled up is left where he is.
const log = $("#log");
if (log) {
  log.scrollTop = log.scrollHeight;
  if (log.dataset.tail) {
    new EventSource(log.dataset.tail).onmessage = (told) => {
      const atEnd = log.scrollTop + log.clientHeight > log.scrollHeight - 40;
      const line = new DOMParser().parseFromString(told.data, "text/html").body.firstElementChild;
      log.append(line);
      while (log.children.length > 2000) log.firstElementChild.remove();
      if (atEnd) log.scrollTop = log.scrollHeight;
    };
  }
}

if (slider) wireSlider();
