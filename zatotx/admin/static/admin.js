// Progressive enhancement: everything works without it.
(() => {
  'use strict';

  // The key "/" leads to the search box.
  document.addEventListener('keydown', (event) => {
    const target = event.target;
    if (event.key === '/' && !event.ctrlKey && !event.metaKey && !event.altKey
        && !(target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement)) {
      const box = document.getElementById('q');
      if (box) { event.preventDefault(); box.focus(); }
    }
  });

  // One box selects all rows of a table.
  const showSelectAll = (root) => {
    for (const box of root.querySelectorAll('[data-select-all]')) { box.hidden = false; }
  };
  document.addEventListener('change', (event) => {
    if (event.target.matches('[data-select-all]')) {
      for (const box of event.target.closest('form').querySelectorAll('tbody input[name="id"]')) { box.checked = event.target.checked; }
    }
  });

  // Typing into an optional group of fields checks its box.
  document.addEventListener('input', (event) => {
    const group = event.target.closest('fieldset.group');
    const box = group && group.querySelector('[data-group-box]');
    if (box && event.target !== box && event.target.value) { box.checked = true; }
  });

  // Files are dropped on the upload form.
  for (const form of document.querySelectorAll('[data-drop]')) {
    const input = form.querySelector('input[type=file]');
    form.addEventListener('dragover', (event) => { event.preventDefault(); form.classList.add('over'); });
    form.addEventListener('dragleave', () => form.classList.remove('over'));
    form.addEventListener('drop', (event) => {
      event.preventDefault();
      form.classList.remove('over');
      if (event.dataTransfer.files.length) { input.files = event.dataTransfer.files; }
    });
  }

  // Live figures: one stream per browser, whichever tab holds the lock; the others listen to the channel.
  const area = document.querySelector('[data-live-area]');
  if (area && window.EventSource && window.BroadcastChannel && navigator.locks) {
    const channel = new BroadcastChannel('zatotx-live');
    const history = {};
    const show = (figures) => {
      area.hidden = false;
      for (const cell of area.querySelectorAll('[data-live]')) { cell.textContent = figures[cell.dataset.live]; }
      for (const line of area.querySelectorAll('[data-live-chart]')) {
        const values = (history[line.dataset.liveChart] ||= []);
        values.push(figures[line.dataset.liveChart]);
        if (values.length > 60) { values.shift(); }
        const top = Math.max(...values, 1);
        line.setAttribute('points', values.map((value, index) => `${60 - values.length + index + 1},${19 - 18 * value / top}`).join(' '));
      }
      for (const row of document.querySelectorAll('[data-server]')) {
        const badge = row.querySelector('.state');
        const isUp = figures.servers[row.dataset.server];
        badge.className = `state ${isUp ? 'on' : 'off'}`;
        badge.textContent = isUp ? 'Up' : 'Down';
      }
    };
    channel.onmessage = (event) => show(event.data);
    navigator.locks.request('zatotx-live', () => new Promise((resolve) => {
      const stream = new EventSource('/live');
      stream.addEventListener('figures', (event) => {
        const figures = JSON.parse(event.data);
        show(figures);
        channel.postMessage(figures);
      });
      stream.addEventListener('end', () => { stream.close(); resolve(); });
    }));
  }

  // After a login in the middle of a form, the form is shown again at once.
  document.querySelector('form[data-continue]')?.requestSubmit();

  // Rejected requests of htmx show their page, too: it says what was wrong.
  document.addEventListener('htmx:beforeSwap', (event) => {
    if (event.detail.xhr.status >= 400 && event.detail.xhr.status !== 401) { event.detail.shouldSwap = true; event.detail.isError = false; }
  });
  document.addEventListener('htmx:afterSwap', (event) => showSelectAll(event.target));
  showSelectAll(document);
})();
