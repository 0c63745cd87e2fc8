// Keys, uploads, and what is drawn under the mouse at once. All else of the page is made by trame.
(function () {
  const trame = () => window.trame;
  const state = (name) => trame()?.state?.get(name);
  const set = (name, value) => trame()?.state?.set(name, value);

  // ---- keys: those of the Slicer module; all others are the browser's, as the space bar on a button
  const OURS = /^(Escape|Ctrl\+[ZY]|(Shift\+)?[A-Z])$/;

  function isTyping(target) {
    return target.closest?.("input:not([type=range]):not([type=checkbox]):not([type=color]), textarea, select");
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.closest?.("[data-test=path]")) {
      return document.querySelector("[data-test=open-path]").click();
    }
    if (!trame() || event.altKey || isTyping(event.target) || document.querySelector(".v-overlay--active")) return;
    if (event.key === "Enter" && event.target.matches?.(".pw-tr")) return event.target.click();
    const control = event.ctrlKey || event.metaKey;
    const letter = event.key.length === 1 ? event.key.toUpperCase() : event.key === "Escape" && event.key;
    if (!letter) return;
    let key = control ? `Ctrl+${letter}` : letter;
    if (control && event.shiftKey && letter === "Z") key = "Ctrl+Y";
    else if (event.shiftKey && letter.length === 1) key = `Shift+${letter}`;
    if (!OURS.test(key) || (event.repeat && !control)) return;
    event.preventDefault();
    trame().trigger("pwseg_key", [key]);
  });

  // ---- what is drawn under the mouse, before the server knows of it
  const SVG = "http://www.w3.org/2000/svg";
  const COLORS = { inside: "#00bf4d", outside: "#e6331a", box: "#3380ff", delete: "#ffffff" };
  let drawing = null;

  function layerOf(view) {
    let layer = view.querySelector(":scope > svg.pw-layer");
    if (!layer) {
      layer = document.createElementNS(SVG, "svg");
      layer.setAttribute("class", "pw-layer");
      view.appendChild(layer);
    }
    return layer;
  }

  function shape(layer, name, attributes) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    layer.appendChild(element);
    return element;
  }

  function viewUnder(event) {
    const view = event.target.closest?.("[data-view]");
    return view && view.dataset.view !== "ThreeD" && !event.target.closest("input, button") ? view : null;
  }

  function place(event, view) {
    const bounds = view.getBoundingClientRect();
    return [event.clientX - bounds.left, event.clientY - bounds.top];
  }

  function clear() {
    document.querySelectorAll("svg.pw-layer").forEach((layer) => layer.replaceChildren());
  }

  // Pixels of the server's picture to one of the page.
  const sharpness = () => Math.max(1, window.devicePixelRatio || 1);
  const pixelMm = (view) => sharpness() * (state(`slice_${view.dataset.view}`)?.pixel_mm || 1);

  function ring(view, [x, y], color) {
    const attributes = { cx: x, cy: y, r: Number(state("brush")) / pixelMm(view), fill: "none", stroke: color };
    shape(layerOf(view), "circle", { ...attributes, "stroke-width": 1.5 });
  }

  function follow(event) {
    const tool = state("tool");
    if (!tool) return clear();
    const color = COLORS[tool] || COLORS[tool.replace("scribble ", "")];
    if (drawing) {
      const [x, y] = place(event, drawing.view);
      if (tool === "box") {
        const [left, top] = [Math.min(x, drawing.x), Math.min(y, drawing.y)];
        const size = { width: Math.abs(x - drawing.x), height: Math.abs(y - drawing.y) };
        for (const [key, value] of Object.entries({ x: left, y: top, ...size })) drawing.mark.setAttribute(key, value);
      } else if (drawing.mark) {
        drawing.mark.setAttribute("points", `${drawing.mark.getAttribute("points")} ${x},${y}`);
      }
      return;
    }
    clear();
    const view = viewUnder(event);
    if (view && tool.startsWith("scribble")) ring(view, place(event, view), color);
  }

  function begin(event) {
    const tool = state("tool"), view = viewUnder(event);
    if (!tool || !view || event.button !== 0) return;
    const [x, y] = place(event, view), layer = layerOf(view);
    clear();
    let mark = null;
    if (tool === "box") {
      mark = shape(layer, "rect", { x, y, width: 0, height: 0, fill: "none", stroke: COLORS.box, "stroke-width": 2 });
    } else if (tool.startsWith("scribble")) {
      const look = { fill: "none", stroke: COLORS[tool.replace("scribble ", "")], "stroke-opacity": 0.6 };
      const line = { "stroke-width": (2 * Number(state("brush"))) / pixelMm(view), "stroke-linecap": "round" };
      mark = shape(layer, "polyline", { points: `${x},${y} ${x},${y}`, ...look, ...line, "stroke-linejoin": "round" });
    }
    drawing = { view, x, y, mark };
  }

  function end() {
    if (!drawing) return;
    drawing = null;
    // Until the picture with the prompt in it has come.
    window.setTimeout(() => drawing || clear(), 150);
  }

  document.addEventListener("pointerdown", begin, true);
  document.addEventListener("pointermove", follow, true);
  document.addEventListener("pointerup", end, true);

  // ---- what is asked while there is no connection is no error of its own: that it is lost is said, and a page that is
  // being left asks, too
  window.addEventListener("unhandledrejection", (event) => {
    if (String(event.reason?.message).endsWith("connection not open")) event.preventDefault();
  });

  // ---- the views have the size of the tab that came last: in another one clicks would be elsewhere than they are seen
  let fittedAt = 0;

  function fitViews() {
    if (!trame() || Date.now() - fittedAt < 300) return;
    fittedAt = Date.now();
    for (const view of document.querySelectorAll("[data-view]")) {
      const picture = view.querySelector("img.image-display-area");
      const { width: w, height: h } = view.firstElementChild.getBoundingClientRect();
      const off = (pixels, length) => Math.abs(pixels - length * sharpness()) > 2;
      if (!picture?.naturalWidth || !(off(picture.naturalWidth, w) || off(picture.naturalHeight, h))) continue;
      const size = [view.dataset.view, "tab", { w, h, p: sharpness() }];
      trame().client.getConnection()?.getSession()?.call("trame.rca.size", size).catch(() => {});
    }
  }

  document.addEventListener("pointermove", fitViews, true);
  window.addEventListener("focus", fitViews);

  // ---- the selected segment is seen in its table, however it was selected
  let selected = "";
  window.setInterval(() => {
    const now = `${state("current")} ${state("pane")}`;
    if (now === selected) return;
    selected = now;
    for (const row of document.querySelectorAll(".pw-tr.pw-selected")) {
      const table = row.parentElement, [inner, outer] = [row, table].map((e) => e.getBoundingClientRect());
      table.scrollTop += Math.max(0, inner.bottom - outer.bottom) - Math.max(0, outer.top - inner.top);
    }
  }, 200);

  // What the server says; pages of a proxy in between are not ours.
  async function words(answer, otherwise) {
    return answer.headers.get("content-type")?.startsWith("text/plain") ? answer.text() : otherwise;
  }

  const refused = (answer) => words(answer, `This was refused on the way to the server (${answer.status}): ask whoever runs it.`);

  // ---- uploads
  async function filesOf(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const found = [];
    async function walk(entry) {
      if (entry.isFile) {
        found.push(await new Promise((done, failed) => entry.file(done, failed)));
      } else if (entry.isDirectory) {
        const reader = entry.createReader();
        for (;;) {
          const some = await new Promise((done, failed) => reader.readEntries(done, failed));
          if (!some.length) break;
          for (const inner of some) await walk(inner);
        }
      }
    }
    for (const entry of entries) await walk(entry);
    return found;
  }

  function say(text, isError) {
    set("upload_text", isError ? "" : text);
    if (isError) {
      set("open_error", text);
      set("message", text);
      set("message_is_error", true);
    }
  }

  // Another image takes the place of this one and of all that was made on it.
  function mayReplace() {
    const count = state("segments")?.length || 0, waiting = state("unrestored_again") && state("unrestored");
    if (!count && !waiting) return true;
    const made = `${state("image")?.name} and ${count === 1 ? "its segment" : `its ${count} segments`} are closed for good`;
    const lost = count ? `${made}: download first what you need.` : waiting;
    return window.confirm(`${lost}\n\nOpen another image now?`);
  }

  document.addEventListener(
    "click",
    (event) => {
      const opens = "[data-test=open-path], [data-test=dialog-sample], [data-test=sample], .pw-list-item";
      if (!event.target.closest?.(opens) || mayReplace()) return;
      event.preventDefault();
      event.stopImmediatePropagation();
    },
    true,
  );

  async function upload(files) {
    files = [...files].filter((file) => !file.name.startsWith("."));
    if (!files.length) return;
    if (!files.every((file) => file.name.toLowerCase().endsWith(".json")) && !mayReplace()) return;
    set("open_error", "");
    const total = files.reduce((sum, file) => sum + file.size, 0);
    const limit = state("upload_limit");
    if (limit && total > limit) {
      return say(`That is ${(total / 1e9).toFixed(1)} GB; at most ${(limit / 1e9).toFixed(1)} GB can be uploaded.`, true);
    }
    const batch = crypto.getRandomValues(new Uint32Array(4)).reduce((text, n) => text + n.toString(16).padStart(8, "0"), "");
    try {
      let done = 0;
      for (const file of files) {
        say(`Uploading ${file.name} (${Math.round((100 * done) / Math.max(1, total))} %)…`);
        const query = new URLSearchParams({ name: file.name });
        const answer = await fetch(`upload/${batch}?${query}`, { method: "PUT", body: file });
        if (!answer.ok) throw new Error(await refused(answer));
        done += file.size;
      }
      say("Reading…");
      const answer = await fetch(`upload/${batch}`, { method: "POST" });
      if (!answer.ok) throw new Error(await refused(answer));
      say("");
    } catch (error) {
      fetch(`upload/${batch}`, { method: "DELETE" });
      say(error.message || "The upload was interrupted: try again.", true);
    }
  }

  document.addEventListener("change", (event) => {
    if (event.target.matches?.("input[type=file]")) {
      upload(event.target.files);
      event.target.value = "";
    }
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    if (event.dataTransfer?.items.length) upload(await filesOf(event.dataTransfer));
  });

  // ---- a server that was stopped, or a session whose process ended: say so, and go on when it is back
  const session = window.location.pathname.match(/\/s\/([0-9a-f]+)\//)?.[1];
  let life = null, lost = false, ended = false, wasShown = false;

  function banner(text) {
    let found = document.querySelector(".pw-lost");
    if (!found) {
      found = document.createElement("div");
      found.className = "pw-lost";
      found.setAttribute("role", "alert");
      document.body.appendChild(found);
    }
    if (found.textContent !== text) found.textContent = text;
  }

  const LOST = "The server cannot be reached. Your work is kept; this page goes on when it is back.";
  const RESTARTED = "This server was restarted: open the address it printed. Your work is kept.";

  async function watch() {
    let status = 0, text = LOST;
    try {
      const answer = await fetch(`/sessions/${session}/ready`, { cache: "no-store" });
      [status, text] = [answer.status, await words(answer, LOST)];
    } catch {
      // Nobody answers.
    }
    if (ended) return;
    // There the server says what became of the session.
    if (status === 404) return window.location.reload();
    if (status === 200) {
      // Trame takes the page away when its connection is closed, as after a laptop's sleep, and does not connect again.
      const isShown = Boolean(document.querySelector(".pw-frame"));
      if (lost || (life !== null && text !== life) || (wasShown && !isShown)) return window.location.reload();
      [life, wasShown] = [text, isShown];
    } else {
      lost = true;
      banner(status === 403 ? RESTARTED : text);
    }
    window.setTimeout(watch, lost ? 1000 : 5000);
  }
  watch();

  // ---- who opens the address again may want the session from before
  const EARLIER = "pwseg-session";

  function earlier() {
    try {
      return JSON.parse(localStorage.getItem(EARLIER));
    } catch {
      return null;
    }
  }

  function remember() {
    const image = state("image")?.name, count = state("segments")?.length;
    try {
      if (image && count) localStorage.setItem(EARLIER, JSON.stringify({ session, image, count }));
    } catch {
      // The browser keeps nothing: then it offers nothing.
    }
  }

  async function offerEarlier() {
    const found = earlier();
    if (!/^[0-9a-f]{32}$/.test(found?.session) || found.session === session) return;
    const answer = await fetch(`/sessions/${found.session}`, { cache: "no-store" }).catch(() => null);
    if (!answer?.ok) return;
    const offer = document.createElement("div"), link = document.createElement("a"), close = document.createElement("button");
    offer.className = "pw-earlier";
    offer.append(`You worked on ${found.image} before, ${found.count === 1 ? "a segment" : `${found.count} segments`}: `);
    link.href = `/s/${found.session}/`;
    link.textContent = "go on with that";
    close.textContent = "✕";
    close.title = "Stay here";
    close.addEventListener("click", () => offer.remove());
    offer.append(link, close);
    document.body.appendChild(offer);
  }
  offerEarlier();
  window.setInterval(remember, 2000);

  // ---- the end
  document.addEventListener("click", async (event) => {
    if (!event.target.closest?.("[data-test=end-session]")) return;
    if (!window.confirm("Delete the image and all that was made here from the server? Download first what you need.")) return;
    // Nobody is to ask for it any more: that would start it again.
    ended = true;
    const answer = await fetch(`/sessions/${session}/remove`, { method: "POST" }).catch(() => null);
    if (answer?.ok) return window.location.assign("/");
    ended = false;
    watch();
    say("The session could not be ended: try again.", true);
  });

  // ---- downloads: what is wrong is said on the page, not on one of its own
  function wishes(target) {
    if (target.closest?.("[data-test=report]")) return { kinds: ["report"] };
    if (!target.closest?.("[data-test=export]")) return null;
    const problems = state("export_problems") || {};
    const kinds = state("export_kinds").filter((kind) => !problems[kind]);
    return { kinds, eight_bit: state("export_eight_bit"), provenance: state("export_provenance") };
  }

  let isMaking = false;

  document.addEventListener("click", async (event) => {
    const wanted = wishes(event.target);
    // The second click of a double click would have the files deleted that the first one asked for.
    if (!wanted || isMaking) return;
    isMaking = true;
    let isMade = false, text = "The server cannot be reached: try again.";
    try {
      const answer = await fetch("download", { method: "POST", body: JSON.stringify(wanted) });
      [isMade, text] = [answer.ok, await refused(answer)];
    } catch {
      // Nobody answers.
    }
    window.setTimeout(() => (isMaking = false), 500);
    if (!isMade) {
      set("export_error", text);
      set("message", text);
      set("message_is_error", true);
      return;
    }
    const anchor = document.createElement("a");
    anchor.href = `download/${text}`;
    anchor.download = "";
    document.body.appendChild(anchor);
    anchor.click();
    anchor.remove();
    set("export_dialog", false);
    set("message", `${text.split("/")[1]} is with your browser's downloads.`);
    set("message_is_error", false);
  });
})();
