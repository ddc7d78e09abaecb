// The page: fetches the document, asks for credentials where it must, lists and filters the operations. No module may
// import this one: where the page's URL carries a login, its URL there is another one, and all of it would run twice.

import { basic } from './console.js';
import { element, operationCard, paragraphs } from './render.js';

const METHODS = ['get', 'post', 'put', 'patch', 'delete', 'head', 'options', 'trace'];
const THEMES = [['Auto', '', 'as the system'], ['Light', 'light', 'light'], ['Dark', 'dark', 'dark']];
const at = (id) => document.getElementById(id);

let source = null; // the document as it came, for the download

/** Every operation of the document, in the order of its paths. */
function operationsOf(api) {
  const found = [];
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS) {
      if (item[method]) found.push({ path, method, ...item[method], tag: item[method].tags?.[0] ?? 'others' });
    }
  }
  return found;
}

function byTag(api, operations) {
  const names = (api.tags ?? []).map((tag) => tag.name);
  const groups = new Map(names.map((name) => [name, []]));
  for (const one of operations) {
    if (!groups.has(one.tag)) groups.set(one.tag, []);
    groups.get(one.tag).push(one);
  }
  return [...groups].filter(([, list]) => list.length);
}

/** Asks for the document. `credentials: omit` keeps the browser's own login prompt, and what it remembers, out. */
async function load(authorization) {
  const headers = authorization ? { Authorization: authorization } : {};
  const where = new URL('openapi.json', location.origin + location.pathname); // without a login in the page's own URL
  const answer = await fetch(where, { credentials: 'omit', cache: 'no-store', headers });
  if (answer.status === 401) return null;
  if (!answer.ok) throw new Error(`openapi.json answered ${answer.status}`);
  return answer.json();
}

function say(text) {
  at('status').textContent = text;
  at('status').hidden = !text;
}

function show(api) {
  source = api;
  at('login').hidden = true;
  document.body.classList.remove('locked');
  say('');
  document.title = `${api.info.title} – API documentation`;
  at('title').textContent = api.info.title;
  at('version').textContent = `revision ${api.info.version}`;
  const operations = operationsOf(api);
  const groups = byTag(api, operations);
  const content = at('content');
  content.replaceChildren(element('div', { class: 'about' }, paragraphs(api.info.description ?? '')));
  for (const sentence of api['x-zatotx-left-out'] ?? []) {
    content.append(element('p', { class: 'note' }, `Left out: ${sentence}.`));
  }
  if (!operations.length) say('No REST channel is active: make one and it is listed here.');
  for (const [tag, list] of groups) {
    const heading = element('h2', { id: `tag-${tag}` }, tag);
    content.append(element('section', { class: 'tag', 'aria-labelledby': heading.id }, heading,
      list.map((one) => operationCard(api, one))));
  }
  at('nav').replaceChildren(...groups.map(([tag, list]) => navGroup(tag, list)));
  openAnchor();
}

function navGroup(tag, list) {
  return element('section', { class: 'group' }, element('h2', {}, tag), element('ul', {}, list.map((one) =>
    element('li', { 'data-operation': one.operationId },
      element('a', { href: `#${encodeURIComponent(one.operationId)}`, title: `${one.method.toUpperCase()} ${one.path}` },
        element('span', { class: `method small ${one.method}` }, one.method), element('span', {}, one.operationId))))));
}

/** Hides what does not hold every word of the filter. */
function filter(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const kept = new Set();
  for (const card of document.querySelectorAll('.operation')) {
    const good = words.every((word) => card.dataset.text.includes(word));
    card.hidden = !good;
    if (good) kept.add(card.id);
  }
  for (const item of document.querySelectorAll('#nav li')) item.hidden = !kept.has(item.dataset.operation);
  for (const group of document.querySelectorAll('section.tag, section.group')) {
    group.hidden = !group.querySelector('.operation:not([hidden]), li:not([hidden])');
  }
  say(words.length && !kept.size ? 'Nothing matches the filter.' : '');
}

function openAnchor() {
  const found = location.hash.length > 1 && at(decodeURIComponent(location.hash.slice(1)));
  if (found && found.matches('details')) {
    found.open = true;
    found.scrollIntoView();
  }
}

function nextTheme(event) {
  const button = event.currentTarget;
  const now = THEMES.findIndex(([label]) => label === button.textContent);
  const [label, theme, says] = THEMES[(now + 1) % THEMES.length];
  button.textContent = label;
  button.setAttribute('aria-label', `Colours: ${says}`);
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

/** The link cannot carry credentials: where the document is here already, it is given out from here. */
function download(event) {
  if (!source) return;
  event.preventDefault();
  const url = URL.createObjectURL(new Blob([JSON.stringify(source, null, 2)], { type: 'application/json' }));
  element('a', { href: url, download: 'openapi.json' }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

async function attempt(authorization) {
  try {
    const api = await load(authorization);
    if (api) {
      show(api);
      return;
    }
    say('');
    at('login').hidden = false;
    document.body.classList.add('locked');
    at('refused').textContent = authorization ? 'These credentials are not known.' : '';
    (authorization ? at('password') : at('username')).focus();
  } catch (error) {
    say(`The document could not be read: ${error.message}.`);
  }
}

at('login').addEventListener('submit', (event) => {
  event.preventDefault();
  attempt(basic(at('username').value, at('password').value));
  at('password').value = '';
});
at('filter').addEventListener('input', (event) => filter(event.target.value));
at('theme').addEventListener('click', nextTheme);
at('source').addEventListener('click', download);
addEventListener('hashchange', openAnchor);
attempt('');
