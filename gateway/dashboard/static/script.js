// Pages that show the present are fetched again when something has happened; the slider goes to a position.
"use strict";

const slider = document.getElementById("slider");
if (slider) {
  const number = slider.form.elements.at;
  slider.addEventListener("input", () => { number.value = slider.value; });
  slider.addEventListener("change", () => slider.form.requestSubmit());
  document.addEventListener("keydown", (pressed) => {
    const typing = pressed.target.closest("input, textarea");
    if (typing || pressed.altKey || pressed.ctrlKey || pressed.metaKey) return;
    const step = { "[": -1, "]": 1 }[pressed.key];
    if (step) {
      number.value = Math.min(Number(number.max), Math.max(0, Number(number.value) + step));
      slider.form.requestSubmit();
    }
  });
}

if (document.body.dataset.live) {
  const busy = () => document.activeElement && document.activeElement.matches("main input");
  let running = false, again = false;
  const refresh = async () => {
    if (running || busy()) { again = running; return; }
    running = true;
    try {
      const answer = await fetch(location.href);
      if (answer.ok && !answer.redirected) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        document.getElementById("content").replaceWith(fresh.getElementById("content"));
        for (const name of ["max", "value"]) {
          const value = fresh.getElementById("slider").getAttribute(name);
          slider[name] = value;
          slider.form.elements.at[name] = value;
        }
      }
    } finally {
      running = false;
      if (again) { again = false; setTimeout(refresh, 500); }
    }
  };
  new EventSource("/dashboard/live").onmessage = refresh;
}
