// Live figures: one stream for all tabs of a browser. The tab that holds the lock has the stream; the others listen to
// its channel. Elements say what they show: data-live="requests" of the cluster, data-node="server1" around those of a node.
(() => {
  'use strict';
  // What is loaded again by itself stays as it is while the keyboard is in it.
  document.addEventListener('htmx:beforeRequest', (event) => {
    const element = event.detail.elt;
    if ((element.getAttribute('hx-trigger') || '').startsWith('every') && element.contains(document.activeElement)) { event.preventDefault(); }
  });

  const area = document.querySelector('[data-live-area]');
  if (!area || !window.EventSource || !window.BroadcastChannel || !navigator.locks) { return; }

  const POINTS = 60;
  const FEWEST = 12;  // a chart is at least that wide
  const SERIES = ['requests', 'errors', 'mean'];
  const STATES = { running: 'on', drained: 'mid', starting: 'mid', draining: 'mid', down: 'off' };
  const channel = new BroadcastChannel('zatotx-live');
  let points = [];  // of the last events: [requests, errors, mean]
  let revision = null;

  const draw = () => {
    const width = Math.max(points.length, FEWEST);
    for (const chart of document.querySelectorAll('[data-live-chart]')) {
      const values = points.map((point) => point[SERIES.indexOf(chart.dataset.liveChart)]);
      chart.setAttribute('viewBox', `0 0 ${width - 1} 20`);
      const top = Math.max(...values, 1);
      const line = values.map((value, index) => `${width - values.length + index},${(19 - 18 * value / top).toFixed(2)}`);
      chart.querySelector('polyline').setAttribute('points', line.join(' '));
      const first = width - values.length;
      chart.querySelector('polygon').setAttribute('points', line.length ? `${first},20 ${line.join(' ')} ${width - 1},20` : '');
    }
  };
  const setText = (element, value) => { if (element.textContent !== value) { element.textContent = value; } };
  const numbers = new Intl.NumberFormat('en-US', { maximumFractionDigits: 2 });
  const shown = (name, value) => (name === 'revision' ? String(value) : numbers.format(value));
  const show = (figures) => {
    for (const cell of document.querySelectorAll('[data-live]')) {
      const row = cell.closest('[data-node]');
      const source = row ? figures.nodes[row.dataset.node] : figures;
      if (source) { setText(cell, shown(cell.dataset.live, source[cell.dataset.live])); }
    }
    for (const row of document.querySelectorAll('[data-node]')) {
      const node = figures.nodes[row.dataset.node];
      if (!node) { continue; }
      const badge = row.querySelector('[data-live-state]');
      if (badge) {
        badge.className = `state ${STATES[node.state] || 'off'}`;
        setText(badge, node.state[0].toUpperCase() + node.state.slice(1));
      }
      const leads = row.querySelector('[data-live-leader]');
      if (leads) { leads.hidden = !node.is_leader; }
    }
    if (revision !== null && figures.revision !== revision && window.htmx) {
      for (const element of document.querySelectorAll('[data-live-revision]')) { window.htmx.trigger(element, 'revision'); }
    }
    revision = figures.revision;
  };
  const receive = (kind, data) => {
    if (kind === 'history') {
      points = data;
    } else {
      points.push(SERIES.map((name) => data[name]));
      if (points.length > POINTS) { points.shift(); }
      show(data);
    }
    draw();
  };

  let holdsStream = false;
  channel.onmessage = (event) => {
    const [kind, data] = event.data;
    if (kind !== 'hello') { receive(kind, data); } else if (holdsStream) { channel.postMessage(['history', points]); }
  };
  channel.postMessage(['hello', null]);
  navigator.locks.request('zatotx-live', () => new Promise((resolve) => {
    holdsStream = true;
    const stream = new EventSource('/live');
    for (const kind of ['history', 'figures']) {
      stream.addEventListener(kind, (event) => {
        const data = JSON.parse(event.data);
        receive(kind, data);
        channel.postMessage([kind, data]);
      });
    }
    stream.addEventListener('end', () => { stream.close(); resolve(); });
    window.addEventListener('pagehide', () => { stream.close(); resolve(); });
  }));
})();
