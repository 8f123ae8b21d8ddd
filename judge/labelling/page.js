"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  let values = [];
  let task = null;

  const get = async (path) => (await fetch(path)).json();
  const post = (path, body) => fetch(path, { method: "POST", body: JSON.stringify(body) });

  const over = (title, words) => {
    for (const id of ["task", "finished", "foot"]) $(id).hidden = true;
    $("over-title").textContent = title;
    $("over-words").textContent = words;
    $("over").hidden = false;
  };
  const lost = () => over("The page has ended", "Every rating so far is kept. The same command goes on.");

  const put = (id, text) => {
    $(id).textContent = text || "(empty)";
    $(id).classList.toggle("empty", !text);
  };

  const show = (found) => {
    task = found;
    const finished = found.place === null;
    $("count").textContent = `${found.done} of ${found.total} rated`;
    $("progress").max = found.total;
    $("progress").value = found.done;
    $("message").textContent = "";
    $("task").hidden = finished;
    $("finished").hidden = !finished;
    $("form").hidden = finished;
    if (finished) { document.activeElement?.blur(); return; }
    put("instruction", found.instruction);
    put("input", found.input);
    put("answer", found.answer);
    put("reference", found.reference);
    $("input-box").hidden = !found.input;
    $("reference-box").hidden = !found.reference;
    $("score").value = found.value ?? "";
    $("score").focus();
    window.scrollTo(0, 0);
  };

  const look = async (place) => {
    try { show(await get(`task?place=${place}`)); } catch { lost(); }
  };
  const finish = async () => {
    try { await post("finish", {}); over("Thank you", "Every rating is kept; this page can be closed."); } catch { lost(); }
  };

  const keep = async () => {
    try {
      const answer = await post("rate", { place: task.place, value: $("score").value.trim() });
      const found = await answer.json();
      if (answer.ok) show(found);
      else { $("message").textContent = found.error; $("score").select(); }
    } catch { lost(); }
  };

  const step = (by) => {
    const now = Number($("score").value || NaN);
    const at = values.findIndex((one) => one === now);
    const next = at < 0 ? Math.floor(values.length / 2) : Math.min(values.length - 1, Math.max(0, at + by));
    $("score").value = values[next];
  };

  $("form").addEventListener("submit", (event) => { event.preventDefault(); keep(); });
  document.addEventListener("keydown", (event) => {
    if (!$("over").hidden || task === null) return;
    const at = task.place ?? task.total;
    const act = {
      ArrowUp: () => step(1),
      ArrowDown: () => step(-1),
      ArrowLeft: () => look(Math.max(0, at - 1)),
      ArrowRight: () => look(task.value === null ? task.total : at + 1),
      End: () => (event.ctrlKey ? finish() : undefined),
      Enter: () => (task.place === null ? finish() : undefined),
    }[event.key];
    if (!act || ((event.key === "Enter") && task.place !== null)) return;
    event.preventDefault();
    act();
  });

  (async () => {
    try {
      const about = await get("about");
      values = about.values;
      $("scale").textContent = about.scale;
      $("description").textContent = about.description;
      for (const one of about.criteria) {
        const dt = document.createElement("dt");
        const dd = document.createElement("dd");
        dt.textContent = one.name;
        dd.textContent = one.description;
        $("criteria").append(dt, dd);
      }
      show(await get("task"));
    } catch { lost(); }
  })();
})();
