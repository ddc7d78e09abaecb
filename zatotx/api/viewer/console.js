// «Try it»: sends one request to this very server and shows the answer. Credentials are kept in this variable alone.

import { element, exampleText, pretty, resolve, typeOf } from './render.js';

const credentials = new Map(); // security scheme -> [username, password]; of a key or token the first one is ''
const BODILESS = new Set(['get', 'head']);
const LONGEST = 100_000; // characters of an answer that are shown
let number = 0;

/** Basic credentials are UTF-8. */
export function basic(username, password) {
  const bytes = new TextEncoder().encode(`${username}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}

/** What kind of credentials a scheme takes: a login, a key, or none that can be typed in (a certificate). */
function kindOf(scheme) {
  if (scheme.type === 'apiKey' || (scheme.type === 'http' && scheme.scheme === 'bearer')) return 'key';
  return scheme.type === 'http' && scheme.scheme === 'basic' ? 'login' : '';
}

/** The form of one operation. */
export function consoleOf(api, operation) {
  const id = `try-${(number += 1)}`;
  const known = api.components?.securitySchemes ?? {};
  const schemes = (operation.security ?? []).flatMap((one) => Object.keys(one)).filter((name) => kindOf(known[name]));
  const params = (operation.parameters ?? []).map((param, position) => ({ param, input: paramInput(api, param, `${id}-${position}`) }));
  const [type, media] = Object.entries(operation.requestBody?.content ?? {})[0] ?? ['', null];
  const offersBody = media && !BODILESS.has(operation.method);
  const body = offersBody ? element('textarea', { id: `${id}-body`, rows: '6', spellcheck: 'false' }) : null;
  if (body && media.example !== undefined) body.value = exampleText(type, media);
  const logins = schemes.map((scheme, position) => loginInputs(scheme, kindOf(known[scheme]), `${id}-login${position}`));
  const answer = element('div', { class: 'result', 'aria-live': 'polite' });
  const form = element('form', { class: 'try' },
    params.map((one) => one.input.row),
    body ? element('label', { for: body.id, class: 'wide' }, `Body (${type})`, body) : null,
    logins.map((one) => one.row),
    element('button', { type: 'submit' }, 'Send'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    for (const one of logins) one.remember();
    send(requestOf(api, operation, { params, body, type, schemes }), answer, form);
  });
  return element('details', { class: 'console' }, element('summary', {}, 'Try it'), form, answer);
}

function paramInput(api, param, id) {
  const [schema] = resolve(api, param.schema);
  const input = element('input', { id, required: param.required, spellcheck: 'false', autocomplete: 'off' });
  if (param.example !== undefined) input.value = asText(param.example);
  const row = element('label', { for: id }, `${param.name} (${param.in}, ${typeOf(api, param.schema)})`, input);
  return { row, input, isList: schema.type === 'array' };
}

/** A value as it is typed in: lists separated by commas. */
function asText(value) {
  if (Array.isArray(value)) return value.map(asText).join(',');
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function loginInputs(scheme, kind, id) {
  const [username, password] = credentials.get(scheme) ?? ['', ''];
  const user = element('input', { id: `${id}-user`, autocomplete: 'off', spellcheck: 'false', value: username });
  const secret = element('input', { id: `${id}-secret`, type: 'password', autocomplete: 'off' });
  secret.value = password;
  const row = element('fieldset', {}, element('legend', {}, `Credentials: ${scheme}`),
    kind === 'login' ? element('label', { for: user.id }, 'Username', user) : null,
    element('label', { for: secret.id }, kind === 'login' ? 'Password' : 'Key', secret));
  return { row, remember: () => credentials.set(scheme, [user.value, secret.value]) };
}

/** Put the credentials of a scheme where it has them. */
function present(scheme, [username, secret], headers, query) {
  if (scheme.type === 'apiKey' && scheme.in === 'query') query.append(scheme.name, secret);
  else if (scheme.type === 'apiKey') headers[scheme.name] = secret;
  else headers.Authorization = scheme.scheme === 'bearer' ? `Bearer ${secret}` : basic(username, secret);
}

/** What is sent: URL and options of fetch. */
function requestOf(api, operation, { params, body, type, schemes }) {
  const query = new URLSearchParams();
  let path = operation.path;
  for (const { param, input } of params) {
    const text = input.input.value;
    if (param.in === 'path') path = path.replaceAll(`{${param.name}}`, encodeURIComponent(text));
    else if (text !== '' || param.required) (input.isList ? text.split(',') : [text]).forEach((one) => query.append(param.name, one));
  }
  const told = new URL(api.servers?.[0]?.url ?? '/', location.origin); // elsewhere the page's policy lets it ask nobody
  const root = (told.origin === location.origin ? told : new URL('/', location.origin)).href.replace(/\/$/, '');
  const headers = {};
  const given = schemes.find((scheme) => (credentials.get(scheme) ?? []).some((text) => text));
  if (given) present(api.components.securitySchemes[given], credentials.get(given), headers, query);
  const options = { method: operation.method.toUpperCase(), headers, credentials: 'omit', cache: 'no-store', redirect: 'manual' };
  if (body && body.value.trim()) {
    headers['Content-Type'] = type;
    options.body = type === 'application/x-www-form-urlencoded' ? formOf(body.value) : body.value;
  }
  return [`${root}${path}${query.size ? `?${query}` : ''}`, options];
}

/** A JSON object as a form; lists repeat their name. */
function formOf(text) {
  let fields;
  try {
    fields = Object.entries(JSON.parse(text));
  } catch {
    return text; // a form as it is
  }
  return new URLSearchParams(fields.flatMap(([name, value]) => [value].flat().map((one) => [name, asText(one)])));
}

async function send([url, options], answer, form) {
  const button = form.querySelector('button');
  button.disabled = true;
  answer.replaceChildren(element('p', {}, 'Waiting …'));
  const began = performance.now();
  try {
    const got = await fetch(url, options);
    const text = await got.text();
    const took = Math.round(performance.now() - began);
    answer.replaceChildren(
      element('p', {}, element('span', { class: `code c${String(got.status)[0]}` }, got.status),
        `${took} ms · cid `, element('code', {}, got.headers.get('X-Zato-CID') ?? '–')),
      element('p', { class: 'url' }, element('code', {}, `${options.method} ${url}`)),
      element('pre', { tabindex: '0' }, shown(text)));
  } catch (error) {
    answer.replaceChildren(element('p', { class: 'wrong' }, `No answer: ${error.message}.`));
  } finally {
    button.disabled = false;
  }
}

function shown(text) {
  let whole = text;
  try {
    whole = pretty(JSON.parse(text));
  } catch {
    // no JSON: shown as it came
  }
  return whole.length > LONGEST ? `${whole.slice(0, LONGEST)} … (${whole.length} characters)` : whole || '(nothing)';
}
