"use strict";
const sections = (page) => [...page.querySelectorAll("main > section[id], #place")];
const busy = (each) => each.contains(document.activeElement) || each.contains(getSelection().anchorNode) && !getSelection().isCollapsed || each.querySelector("details[open]");
const refresh = async () => {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const ids = (found) => found.map((each) => each.id).join();
    const [old, fresh] = [sections(document), sections(page)];
    if (ids(old) !== ids(fresh)) {
      const main = document.querySelector("main");
      if (!busy(main)) main.replaceWith(page.querySelector("main"));
      return;
    }
    fresh.forEach((each, at) => {
      if (old[at].outerHTML !== each.outerHTML && !busy(old[at])) old[at].replaceWith(each);
    });
  } catch {
    document.querySelector("#place").textContent = "No answer: this page is out of date";
  }
};
setInterval(refresh, 5000);
