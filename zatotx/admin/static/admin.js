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

  // The menu of a narrow screen keeps the focus until it is closed, and gives it back to the link that opened it.
  const menu = document.getElementById('menu');
  const isOpen = () => menu && window.location.hash === '#menu' && getComputedStyle(menu).position === 'fixed';
  const focusMenu = () => { if (isOpen()) { menu.querySelector('.close').focus(); } };
  const closeMenu = () => { window.location.hash = ''; document.querySelector('.to-menu').focus(); };
  window.addEventListener('hashchange', focusMenu);
  document.querySelector('nav .close')?.addEventListener('click', (event) => { event.preventDefault(); closeMenu(); });
  document.addEventListener('keydown', (event) => {
    if (!isOpen()) { return; }
    const links = [...menu.querySelectorAll('a')];
    const ends = [links[0], links[links.length - 1]];
    if (event.key === 'Escape') {
      closeMenu();
    } else if (event.key === 'Tab' && document.activeElement === ends[event.shiftKey ? 0 : 1]) {
      event.preventDefault();
      ends[event.shiftKey ? 1 : 0].focus();
    }
  });
  focusMenu();

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

  // After a login in the middle of a form, the form is shown again at once.
  document.querySelector('form[data-continue]')?.requestSubmit();

  // What is loaded again by itself stays when that fails, with a mark, and is tried again: a server may restart.
  const loadsItself = (event) => event.detail.requestConfig?.headers['X-Passive'] === '1';
  for (const failure of ['htmx:responseError', 'htmx:sendError', 'htmx:timeout']) {
    document.addEventListener(failure, (event) => {
      if (loadsItself(event)) { event.detail.requestConfig.elt.dataset.stale = 'Not up to date: loading it again failed.'; }
    });
  }

  // Rejected requests of htmx show their page, too: it says what was wrong.
  document.addEventListener('htmx:beforeSwap', (event) => {
    if (event.detail.xhr.status >= 400 && event.detail.xhr.status !== 401 && !loadsItself(event)) { event.detail.shouldSwap = true; event.detail.isError = false; }
  });
  document.addEventListener('htmx:afterSwap', (event) => showSelectAll(event.target));
  showSelectAll(document);
})();
