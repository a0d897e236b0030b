"use strict";
// The page also works without this script, with the browser's own players and no filters. The
// script never turns text into markup, and takes all text from attributes that were escaped.
(() => {
  const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
  const list = document.querySelector(".clips");
  if (!list) return;
  const cards = [...list.querySelectorAll(".clip")];
  const players = new Map();
  const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;

  class Player {
    constructor(card) {
      this.card = card;
      this.audio = card.querySelector("audio");
      this.strip = card.querySelector(".strip");
      this.head = card.querySelector(".head");
      this.button = card.querySelector(".play");
      this.time = card.querySelector(".time");
      this.message = card.querySelector(".message");
      this.seconds = Number(this.audio.dataset.seconds);
      this.audio.controls = false;
      this.button.hidden = this.time.hidden = false;
      Object.entries({ role: "slider", tabindex: "0", "aria-valuemin": "0",
        "aria-label": `Position in ${card.dataset.name}` })
        .forEach(([key, value]) => this.strip.setAttribute(key, value));
      this.button.addEventListener("click", () => this.toggle());
      card.addEventListener("keydown", (event) => this.handleKey(event));
      this.strip.addEventListener("pointerdown", (event) => this.drag(event));
      for (const radio of card.querySelectorAll(".ab input"))
        radio.addEventListener("change", () => this.switchTo(radio));
      for (const name of ["play", "pause", "timeupdate", "seeked", "ended", "emptied"])
        this.audio.addEventListener(name, () => this.update());
      this.audio.addEventListener("play", () => this.pauseOthers());
      this.audio.addEventListener("ended", () => this.playNext());
      this.audio.addEventListener("error", () => {
        this.message.textContent = "This file cannot be played. It may have been moved or deleted.";
      });
      this.update();
    }
    pauseOthers() {
      for (const other of players.values()) if (other !== this) other.audio.pause();
      const follow = () => {
        this.update();
        if (!this.audio.paused && !reducedMotion.matches) requestAnimationFrame(follow);
      };
      follow();
    }
    playNext() {
      if (!document.querySelector("#onwards").checked) return;
      const open = [...list.querySelectorAll(".clip:not([hidden])")].filter((c) => players.has(c));
      const after = players.get(open[open.indexOf(this.card) + 1]);
      if (after) { after.strip.focus(); after.seek(0); after.toggle(); }
    }
    toggle() {
      if (!this.audio.paused) return this.audio.pause();
      this.message.textContent = "";
      const started = this.audio.play();
      // Switching between A and B or a missing file rejects the promise; the latter also raises an
      // error event, which is handled above.
      return started && started.catch(() => this.update());
    }
    seek(to) {
      this.audio.currentTime = Math.min(Math.max(to, 0), this.seconds);
      this.update();
    }
    switchTo(radio) {
      const position = this.audio.currentTime, playing = !this.audio.paused;
      this.seconds = Number(radio.dataset.seconds);
      this.audio.src = radio.dataset.href;
      const picture = this.strip.querySelector("img");
      if (picture && radio.dataset.picture) picture.src = radio.dataset.picture;
      this.seek(position);
      if (playing) this.toggle();
    }
    handleKey(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const own = event.target.closest("a, input, select, summary, button, pre");
      const at = this.audio.currentTime;
      const actions = {
        " ": () => this.toggle(),
        ArrowRight: () => this.seek(at + 1), ArrowLeft: () => this.seek(at - 1),
        ArrowUp: () => this.seek(at + 1), ArrowDown: () => this.seek(at - 1),
        PageUp: () => this.seek(at + 10), PageDown: () => this.seek(at - 10),
        Home: () => this.seek(0), End: () => this.seek(this.seconds),
        b: () => this.switchToOther(),
      };
      if (own || !actions[event.key]) return;
      event.preventDefault();
      actions[event.key]();
    }
    switchToOther() {
      const unchosen = this.card.querySelector(".ab input:not(:checked)");
      if (unchosen) unchosen.click();
    }
    drag(event) {
      if (event.button) return;
      const go = (e) => {
        const box = this.strip.getBoundingClientRect();
        this.seek(((e.clientX - box.left) / box.width) * this.seconds);
      };
      const stop = () => {
        this.strip.removeEventListener("pointermove", go);
        this.strip.removeEventListener("pointerup", stop);
        this.strip.removeEventListener("pointercancel", stop);
      };
      this.strip.setPointerCapture(event.pointerId);
      this.strip.addEventListener("pointermove", go);
      this.strip.addEventListener("pointerup", stop);
      this.strip.addEventListener("pointercancel", stop);
      go(event);
    }
    update() {
      const at = Math.min(this.audio.currentTime, this.seconds);
      this.head.style.left = `calc(${(100 * at) / this.seconds}% - 1px)`;
      const text = `${clock(at)} of ${clock(this.seconds)}`;
      if (this.time.textContent !== text) {
        this.time.textContent = text;
        this.strip.setAttribute("aria-valuemax", String(Math.round(this.seconds)));
        this.strip.setAttribute("aria-valuenow", String(Math.floor(at)));
        this.strip.setAttribute("aria-valuetext", text);
      }
      const word = this.audio.paused ? "Play" : "Pause";
      if (this.button.firstChild.data !== word) this.button.firstChild.data = word;
    }
  }

  const tools = document.querySelector(".tools");
  const [words, result, primer, sort] = ["words", "result", "primer", "sort"]
    .map((name) => document.querySelector(`#${name}`));
  const count = document.querySelector("#count");
  for (const name of [...new Set(cards.map((card) => card.dataset.primer))].sort())
    primer.add(new Option(name, name));

  function filter() {
    const terms = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const card of cards) {
      const data = card.dataset;
      card.hidden = !(terms.every((word) => data.search.includes(word))
        && (!result.value || data.state === result.value || (result.value === "warned" && data.warned))
        && (!primer.value || data.primer === primer.value));
      if (card.hidden && players.has(card)) players.get(card).audio.pause();
      shown += card.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${cards.length} clips`;
  }
  function sortClips() {
    const [key, down] = sort.value.split("-");
    const value = (card) => (card.dataset[key] === "" ? -Infinity : Number(card.dataset[key]));
    list.append(...cards.sort((a, b) => (down ? value(b) - value(a) : value(a) - value(b))));
  }
  for (const field of [words, result, primer]) field.addEventListener("input", filter);
  sort.addEventListener("input", sortClips);
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("main details.printed")) details.open = true;
  });

  for (const card of cards) if (card.querySelector("audio")) players.set(card, new Player(card));
  document.documentElement.classList.add("live");
  tools.hidden = document.querySelector(".keys").hidden = false;
  filter();
})();
