"use strict";
const sections = (page) => [...page.querySelectorAll("main > section[id], #place")];
const busy = (each) => each.contains(document.activeElement) || each.contains(getSelection().anchorNode) && !getSelection().isCollapsed || each.querySelector("details[open]");
const say = (text) => { document.querySelector("#place").textContent = text; };
const show = (page) => {
  const ids = (found) => found.map((each) => each.id).join();
  const [old, fresh] = [sections(document), sections(page)];
  if (ids(old) !== ids(fresh)) {
    const main = document.querySelector("main");
    if (busy(main)) return say("This page has changed: reload it");
    main.replaceWith(page.querySelector("main"));
    return document.querySelector("#place").replaceWith(page.querySelector("#place"));
  }
  let isKept = false;
  fresh.forEach((each, at) => {
    if (old[at].outerHTML === each.outerHTML) return;
    if (busy(old[at])) isKept = true; else old[at].replaceWith(each);
  });
  if (isKept) document.querySelector("#place").append(" · what you use is older");
};
const refresh = async () => {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(20000) });
    if (!answer.ok) throw answer.status;
    show(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch (error) {
    say(`Out of date: ${Number.isInteger(error) ? `the answer was ${error}` : "no answer"}`);
  }
};
const again = () => setTimeout(() => refresh().finally(again), document.querySelector("#place[data-old]") ? 1000 : 5000);
again();
