"use strict";
// Text from the server and from people is only ever set as textContent.

const byId = (id) => document.getElementById(id);
const said = [];
let config = null;
let token = "";
let isBusy = false;

// The id opens the visitor's own records: it is random, and kept for this tab alone.
const sessionId = (() => {
  const kept = sessionStorage.getItem("session");
  if (kept) return kept;
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const made = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  sessionStorage.setItem("session", made);
  return made;
})();

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  if (text !== undefined) made.dir = "auto";
  return made;
}

function headers(more) {
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

async function start() {
  try {
    config = await (await fetch("/config")).json();
  } catch {
    notify("The assistant cannot be reached. Reload the page to try again.");
    return;
  }
  document.title = config.name;
  byId("name").textContent = config.name;
  byId("description").textContent = config.description;
  byId("message").maxLength = config.max_message_chars;
  if (config.mode === "training_data") notify("This assistant answers from its training data alone.");
  for (const question of config.suggestions) {
    const button = element("button", "", question);
    button.type = "button";
    button.addEventListener("click", () => ask(question));
    byId("suggestions").append(button);
  }
  if (config.records) startRecords();
  byId("message").focus();
}

function notify(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = false;
}

function addMessage(role, text) {
  const item = element("li", role);
  item.append(element("span", "hidden", role === "user" ? "You: " : "Assistant: "));
  const body = element("div", "text", text);
  item.append(body);
  byId("messages").append(item);
  scrollDown();
  return { item, body };
}

function scrollDown() {
  byId("messages").scrollTop = byId("messages").scrollHeight;
}

async function ask(text) {
  const message = text.trim();
  if (!message || isBusy) return;
  setBusy(true);
  byId("suggestions").replaceChildren();
  addMessage("user", message);
  const shown = addMessage("assistant", "");
  shown.body.classList.add("waiting");
  byId("messages").setAttribute("aria-busy", "true");
  try {
    const answer = await stream(message, shown.body);
    said.push({ role: "user", content: message }, { role: "assistant", content: answer.reply });
    finish(shown, answer);
  } catch (error) {
    shown.item.classList.add("failed");
    shown.body.textContent = error.message || "Something went wrong. Please try again.";
  } finally {
    shown.body.classList.remove("waiting");
    byId("messages").setAttribute("aria-busy", "false");
    setBusy(false);
    scrollDown();
  }
}

async function stream(message, body) {
  const response = await fetch("/chat", {
    method: "POST",
    headers: headers({ "Content-Type": "application/json" }),
    body: JSON.stringify({ message, stream: true, history: said.slice(-20), session_id: sessionId }),
  }).catch(() => {
    throw new Error("The assistant cannot be reached. Please try again.");
  });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail || `The assistant answered with an error (${response.status}).`);
  }
  for await (const { name, data } of events(response.body)) {
    if (name === "delta") {
      body.classList.remove("waiting");
      body.textContent += data.text;
      scrollDown();
    }
    if (name === "done") return data;
  }
  throw new Error("The answer broke off. Please try again.");
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    for (let end = buffer.indexOf("\n\n"); end >= 0; end = buffer.indexOf("\n\n")) {
      const lines = buffer.slice(0, end).split("\n");
      buffer = buffer.slice(end + 2);
      const field = (name) => (lines.find((line) => line.startsWith(`${name}: `)) || "").slice(name.length + 2);
      if (field("data")) yield { name: field("event"), data: JSON.parse(field("data")) };
    }
  }
}

function finish(shown, answer) {
  shown.body.textContent = answer.reply;
  if (answer.sources.length) {
    const details = element("details");
    details.append(element("summary", "", `Sources (${answer.sources.length})`));
    const list = element("ul");
    for (const source of answer.sources) list.append(element("li", "", source.question));
    details.append(list);
    shown.item.append(details);
  }
  if (answer.records.length) {
    const names = answer.records.map((record) => `${config.records.kind} ${record.id}`).join(", ");
    shown.item.append(element("p", "made", `Saved: ${names}`));
    loadRecords();
  }
}

function setBusy(busy) {
  isBusy = busy;
  byId("send").disabled = busy;
  if (!busy) byId("message").focus();
}

// --- tickets, leads or tasks ---

function startRecords() {
  const title = config.records.plural[0].toUpperCase() + config.records.plural.slice(1);
  byId("records-title").textContent = title;
  const button = byId("show-records");
  button.textContent = title;
  button.hidden = false;
  button.addEventListener("click", () => {
    const isShown = byId("records").hidden;
    byId("records").hidden = !isShown;
    button.setAttribute("aria-expanded", String(isShown));
    if (isShown) loadRecords();
  });
  byId("refresh").addEventListener("click", loadRecords);
  byId("token-form").hidden = !config.needs_token;
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token = byId("token").value.trim();
    loadRecords();
  });
}

async function loadRecords() {
  if (byId("records").hidden) return;
  const seesAll = !config.needs_token || token;
  const query = seesAll ? "" : `&session_id=${sessionId}`;
  const state = byId("records-state");
  try {
    const response = await fetch(`/${config.records.plural}?limit=100${query}`, { headers: headers({}) });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.detail);
    state.textContent = answer.total ? `${answer.total} in all` : `No ${config.records.plural} yet.`;
    byId("record-list").replaceChildren(...answer.items.map(recordItem));
  } catch (error) {
    state.textContent = error.message || "The list cannot be reached.";
    byId("record-list").replaceChildren();
  }
}

function recordItem(record) {
  const item = element("li");
  const what = record.subject || record.title || record.name || record.email || record.need || config.records.kind;
  item.append(element("div", "what", `${record.id}. ${what}`));
  const more = [
    record[config.records.state].replaceAll("_", " "),
    record.priority && `priority ${record.priority}`,
    record.score !== undefined && `score ${record.score}`,
    record.assignee,
    record.due && `due ${record.due}${record.overdue ? ", overdue" : ""}`,
    record.progress !== undefined && `${record.progress} %`,
    record.company,
    record.customer_email || record.email,
  ];
  item.append(element("div", "more", more.filter(Boolean).join(" · ")));
  return item;
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const box = byId("message");
  const text = box.value;
  if (isBusy) return;
  box.value = "";
  box.rows = 1;
  ask(text);
});
byId("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId("form").requestSubmit();
  }
});
byId("message").addEventListener("input", (event) => {
  event.target.rows = Math.min(6, event.target.value.split("\n").length);
});

start();
