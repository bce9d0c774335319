// What pages cannot do alone: follow the present, move by keys, drag the slider, append log lines. All works without it
// but following.
"use strict";

const $ = (what, within = document) => within.querySelector(what);
const slider = $("#slider");

function wireSlider() {
  const range = $("#slider"), number = $("#at");
  if (!range) return;
  range.addEventListener("input", () => { number.value = range.value; });
  let soon = null;  // A key moves by one event and is a change each time: who holds it goes once, to where he stops.
  range.addEventListener("change", () => { clearTimeout(soon); soon = setTimeout(() => range.form.requestSubmit(), 400); });
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

// The present: the page is fetched again when something has happened, and what differs is put in its place. Who writes or
// marks text is not disturbed; what was missed meanwhile comes afterwards.
const isBusy = () => document.activeElement?.matches("main input, main select, .time input") || $("#keys:popover-open")
  || !getSelection().isCollapsed;

function replace(fresh) {
  const kept = chosen;
  const opened = [...document.querySelectorAll("main details")].map((each) => each.open);
  const focused = document.activeElement?.closest("main") ? document.activeElement.getAttribute("href") : null;
  for (const part of ["#content", ".time"]) $(part).replaceWith($(part, fresh));
  document.querySelectorAll("main details").forEach((each, index) => { each.open = opened[index] ?? false; });
  wireSlider();
  if (kept >= 0) rows()[kept]?.classList.add("chosen");
  if (focused) $(`main a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

let due = false, running = false;

async function refresh() {
  if (!due || running || isBusy()) return;
  running = true;
  due = false;
  try {
    const answer = await fetch(location.href);
    const text = await answer.text();
    if (answer.redirected) location.reload();
    else if (!answer.ok || isBusy()) due = true;
    else if (document.body.dataset.live) {
      const fresh = new DOMParser().parseFromString(text, "text/html");
      document.body.dataset.live = fresh.body.dataset.live;
      replace(fresh);
    }
  } catch {
    due = true;
  }
  running = false;
  if (due) setTimeout(refresh, 2000);
}

// The plane says at least that nothing has happened, every second or so: who hears nothing for this long is cut off.
const QUIET_MS = 15000;

// A stream from the plane, kept for as long as the page is looked at: a browser has only six connections to one server.
// One that breaks is opened anew, from where it came to; after some seconds of that the page says so, and asks whether it
// may still be seen.
function stream(address, told) {
  let source = null, silence = null, watch = null;
  const heard = (answers) => { $("#lost").hidden = answers; };
  const lost = () => {
    close();
    setTimeout(open, 1000);
    silence ??= setTimeout(() => { heard(false); due = true; refresh(); }, 4000);
  };
  const alive = () => {
    clearTimeout(silence);
    clearTimeout(watch);
    silence = null;
    watch = setTimeout(lost, QUIET_MS);
    heard(true);
  };
  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource(address());
    source.onmessage = (word) => { alive(); told(word); };
    source.onopen = alive;
    source.addEventListener("quiet", alive);
    source.onerror = lost;
    watch = setTimeout(lost, QUIET_MS);
  };
  const close = () => { clearTimeout(watch); source?.close(); source = null; };
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
  open();
}

if (document.body.dataset.live) {
  stream(() => `/dashboard/live?after=${document.body.dataset.live}`, () => { due = true; refresh(); });
  for (const change of ["focusout", "selectionchange"]) document.addEventListener(change, () => setTimeout(refresh));
}

// A log's new lines come ready made; who has scrolled up is left where he is.
const log = $("#log");
if (log) {
  log.scrollTop = log.scrollHeight;
  if (log.dataset.tail) {
    const from = new URL(log.dataset.tail, location.href);
    stream(() => from.href, (told) => {
      const atEnd = log.scrollTop + log.clientHeight > log.scrollHeight - 40;
      const line = new DOMParser().parseFromString(told.data, "text/html").body.firstElementChild;
      from.searchParams.set("after", told.lastEventId);
      log.append(line);
      while (log.children.length > 2000) log.firstElementChild.remove();
      if (atEnd) log.scrollTop = log.scrollHeight;
    });
  }
}

if (slider) wireSlider();
