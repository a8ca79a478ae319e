// Follows a run that goes on: reads its page again and puts the parts that changed in place, so that nothing that is
// open, typed or playing is disturbed. Without scripts the page reloads itself (a <noscript> of run.html).
"use strict";

const PAUSE_MS = 2000;
const SHARE = 10; // of the time is left to the server: a page that takes 1 s is read every 10 s
const before = new Map();

function opened(part) {
  return [...part.querySelectorAll("details[open] > summary")].map((each) => each.textContent);
}

function put(part, html) {
  const open = new Set(opened(part));
  part.innerHTML = html;
  for (const each of part.querySelectorAll("details > summary")) {
    if (open.has(each.textContent)) each.parentElement.open = true;
  }
}

async function again() {
  if (document.hidden) return setTimeout(again, PAUSE_MS); // nobody looks
  const began = performance.now();
  try {
    const answer = await fetch(location.href, { credentials: "same-origin" });
    if (answer.status === 401 || answer.status === 404) return;
    if (answer.ok) {
      const made = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const html = made.getElementById(part.id)?.innerHTML;
        if (html === undefined || html === before.get(part.id)) continue;
        before.set(part.id, html);
        put(part, html);
      }
      if (!made.querySelector("[data-going]")) return;
    }
  } catch {
    // the server is away: it is asked again
  }
  setTimeout(again, Math.max(PAUSE_MS, SHARE * (performance.now() - began)));
}

for (const part of document.querySelectorAll("[data-live]")) before.set(part.id, part.innerHTML);
setTimeout(again, PAUSE_MS);
