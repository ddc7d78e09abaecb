// From the document to elements. Text is only ever set as text: nothing of a document becomes markup.

import { consoleOf } from './console.js';

/** An element with attributes and children; texts become text nodes. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, '');
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.flat(Infinity).filter((one) => one != null && one !== ''));
  return made;
}

/** Texts between blank lines as paragraphs, `code` in backticks. */
export function paragraphs(text) {
  return text.split(/\n\s*\n/).filter((one) => one.trim()).map((one) => element('p', {}, inline(one)));
}

function inline(text) {
  return text.split('`').map((piece, position) => (position % 2 ? element('code', {}, piece) : piece));
}

/** What a reference leads to, and its name. */
export function resolve(api, node) {
  let name = '';
  for (let depth = 0; node && node.$ref && depth < 20; depth += 1) {
    name = node.$ref.split('/').pop();
    node = node.$ref.slice(2).split('/').reduce((below, key) => below?.[key.replaceAll('~1', '/').replaceAll('~0', '~')], api);
  }
  return [node ?? {}, name];
}

/** One operation: a line that opens. Its inside is made when it is first opened. */
export function operationCard(api, operation) {
  const { operationId, method, path, summary = '', description = '' } = operation;
  const card = element('details', { class: 'operation', id: operationId },
    element('summary', {},
      element('span', { class: `method ${method}` }, method),
      element('code', { class: 'path' }, pathPieces(readable(path))),
      element('span', { class: 'says' }, summary),
      operation.security?.length ? element('span', { class: 'lock', title: 'Needs credentials' }, 'secured') : null));
  card.dataset.text = [operationId, method, path, summary, description].join(' ').toLowerCase();
  card.addEventListener('toggle', () => {
    if (card.open && card.childElementCount === 1) card.append(inside(api, operation));
  });
  return card;
}

/** A path as people write it. */
function readable(path) {
  try {
    return decodeURI(path);
  } catch {
    return path;
  }
}

function pathPieces(path) {
  return path.split(/(\{[^}]*\})/).map((one) => (one.startsWith('{') ? element('span', { class: 'hole' }, one) : one));
}

function inside(api, operation) {
  return element('div', { class: 'inside' },
    paragraphs(operation.description ?? ''),
    element('p', { class: 'facts' }, 'Operation ', element('code', {}, operation.operationId), ...secured(api, operation)),
    operation.parameters?.length ? [element('h3', {}, 'Parameters'), parameters(api, operation)] : null,
    operation.requestBody ? body(api, operation.requestBody) : null,
    element('h3', {}, 'Answers'),
    answers(api, operation.responses),
    consoleOf(api, operation));
}

function secured(api, operation) {
  const names = (operation.security ?? []).flatMap((one) => Object.keys(one));
  if (!names.length) return [' · open to everybody'];
  return names.flatMap((name) => [' · ', api.components?.securitySchemes?.[name]?.description ?? name]);
}

function parameters(api, operation) {
  const heads = ['Name', 'In', 'Type', 'What'].map((one) => element('th', { scope: 'col' }, one));
  const rows = operation.parameters.map((param) => {
    const [schema] = resolve(api, param.schema);
    return element('tr', {},
      element('td', {}, element('code', {}, param.name), param.required ? star() : null),
      element('td', {}, param.in),
      element('td', {}, typeOf(api, param.schema)),
      element('td', {}, inline([param.description ?? schema.description ?? '', bounds(schema)].filter(Boolean).join(' · '))));
  });
  return element('div', { class: 'scrolls' },
    element('table', {}, element('thead', {}, element('tr', {}, heads)), element('tbody', {}, rows)));
}

function star() {
  return element('span', { class: 'required', title: 'required' }, element('span', { 'aria-hidden': 'true' }, ' *'),
    element('span', { class: 'hidden' }, ' required'));
}

function body(api, requestBody) {
  return Object.entries(requestBody.content ?? {}).map(([type, media]) => [
    element('h3', {}, 'Body ', element('code', { class: 'plain' }, type), requestBody.required ? star() : null),
    element('div', { class: 'pair' }, schemaTree(api, media.schema), exampleOf(type, media))]);
}

function answers(api, responses) {
  return element('div', { class: 'answers' }, Object.entries(responses).map(([status, one]) => {
    const [answer] = resolve(api, one);
    const [type, media] = Object.entries(answer.content ?? {})[0] ?? [];
    const opened = element('details', { class: 'answer', open: status.startsWith('2') },
      element('summary', {}, element('span', { class: `code c${status[0]}` }, status), answer.description));
    const fill = () => {
      if (opened.open && opened.childElementCount === 1) {
        opened.append(element('div', { class: 'pair' }, schemaTree(api, media?.schema), media && exampleOf(type, media)));
      }
    };
    opened.addEventListener('toggle', fill);
    fill();
    return opened;
  }));
}

function exampleOf(type, media) {
  if (media.example === undefined) return null;
  const text = exampleText(type, media);
  return element('figure', {}, element('figcaption', {}, 'Example'), element('pre', { tabindex: '0' }, text));
}

/** An example as it is sent: XML is a text already. */
export function exampleText(type, media) {
  return type === 'application/xml' ? media.example : pretty(media.example);
}

export function pretty(value) {
  return JSON.stringify(value, null, 2);
}

/** A type in one word or a few, a model by its name. */
export function typeOf(api, schema = {}) {
  if (schema.$ref) return schema.$ref.split('/').pop();
  const several = schema.anyOf ?? schema.oneOf;
  if (several) return several.map((one) => typeOf(api, one)).join(' | ');
  if ('const' in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(' | ');
  if (schema.type === 'array') return `${schema.items ? typeOf(api, schema.items) : 'any'}[]`;
  const name = Array.isArray(schema.type) ? schema.type.join(' | ') : schema.type ?? 'any';
  return schema.format ? `${name} (${schema.format})` : name;
}

const BOUNDS = { minimum: '≥', exclusiveMinimum: '>', maximum: '≤', exclusiveMaximum: '<', minLength: 'length ≥',
  maxLength: 'length ≤', minItems: 'items ≥', maxItems: 'items ≤', multipleOf: 'multiple of', pattern: 'matches' };

const EMPTY = new Set(['null', '""', '{}', '[]']); // defaults that go without saying

function bounds(schema) {
  const found = Object.entries(BOUNDS).filter(([key]) => key in schema)
    .map(([key, word]) => (key === 'pattern' ? `${word} \`${schema[key]}\`` : `${word} ${schema[key]}`));
  if (schema.default !== undefined && !EMPTY.has(JSON.stringify(schema.default))) found.push(`default \`${JSON.stringify(schema.default)}\``);
  return found.join(', ');
}

/** A schema as a list of its fields; models below open when asked, so that one may hold itself. */
function schemaTree(api, schema) {
  if (!schema || !Object.keys(schema).length) return element('p', { class: 'free' }, 'Anything.');
  const [found, name] = resolve(api, schema);
  if (found.type === 'array' && found.items) {
    return element('div', { class: 'tree' }, element('p', {}, 'A list of ', element('em', {}, typeOf(api, found.items)), ':'),
      fieldsOf(api, found.items) ?? '');
  }
  const fields = fieldsOf(api, schema);
  return element('div', { class: 'tree' },
    element('p', {}, name ? element('strong', {}, name) : typeOf(api, found), found.description ? ` – ${found.description}` : ''),
    fields ?? '');
}

function fieldsOf(api, schema) {
  const [found] = resolve(api, schema);
  const several = found.anyOf ?? found.oneOf;
  if (several) {
    const models = several.filter((one) => fieldsOf(api, one));
    return models.length ? element('ul', {}, models.map((one) => field(api, typeOf(api, one), one, false))) : null;
  }
  if (!found.properties) return null;
  const required = new Set(found.required ?? []);
  return element('ul', {}, Object.entries(found.properties).map(([name, one]) => field(api, name, one, required.has(name))));
}

function field(api, name, schema, required) {
  const [found] = resolve(api, schema);
  const inner = found.type === 'array' ? found.items ?? {} : schema;
  const line = [element('code', {}, name), required ? star() : null, ' ', element('span', { class: 'type' }, typeOf(api, schema))];
  const words = [found.description, bounds(found)].filter(Boolean).join(' · ');
  if (words) line.push(element('span', { class: 'words' }, ' ', inline(words)));
  if (!holdsFields(api, inner)) return element('li', {}, line);
  const opened = element('details', {}, element('summary', {}, line));
  opened.addEventListener('toggle', () => {
    if (opened.open && opened.childElementCount === 1) opened.append(fieldsOf(api, inner) ?? '');
  });
  return element('li', {}, opened);
}

function holdsFields(api, schema) {
  const [found] = resolve(api, schema);
  return Boolean(found.properties) || (found.anyOf ?? found.oneOf ?? []).some((one) => resolve(api, one)[0].properties);
}
