// Everything works without this file. With it pages follow what happens, times
// count down, and the form says what policy will say while it is filled in.
'use strict';

(() => {
  const main = () => document.getElementById('main');
  const drift = Date.parse(document.body.dataset.now) - Date.now(); // the server's clock is the one that counts
  const now = () => Date.now() + drift;

  // words(90) is "1 min 30 s".
  const words = (seconds) => {
    const parts = [];
    for (const [name, size] of [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]]) {
      const n = Math.floor(seconds / size);
      if (n > 0) parts.push(n + ' ' + name);
      seconds -= n * size;
    }
    return parts.slice(0, 2).join(' ') || '0 s';
  };

  // Countdowns and bars.
  const over = new WeakSet();
  const tick = () => {
    for (const e of document.querySelectorAll('[data-until]')) {
      const left = Math.ceil((Date.parse(e.dataset.until) - now()) / 1000);
      if (left > 0) {
        e.textContent = words(left);
      } else if (!over.has(e)) {
        over.add(e);
        e.textContent = 'a moment';
        setTimeout(refresh, 1500);
      }
    }
    for (const e of document.querySelectorAll('progress[data-to]')) {
      e.value = (now() - Date.parse(e.dataset.from)) / 1000;
    }
  };

  // A page is fetched again and its main part put in place of the old one. What
  // comes is our own page of this origin; it is parsed as a document, in which
  // nothing runs.
  const read = async (url, options) => {
    const answer = await fetch(url, { credentials: 'same-origin', cache: 'no-store', ...options });
    if (answer.redirected || !(answer.headers.get('content-type') || '').startsWith('text/html')) return null;
    return new DOMParser().parseFromString(await answer.text(), 'text/html');
  };

  const typing = () => {
    const e = document.activeElement;
    if (e && main().contains(e) && e.matches('input, select, textarea')) return true;
    return [...main().querySelectorAll('textarea, input:not([type=hidden]):not([type=radio])')].some((e) => e.value !== e.defaultValue);
  };

  const tellChanged = () => {
    if (document.getElementById('changed')) return;
    const note = document.createElement('div');
    note.id = 'changed';
    note.className = 'notice info';
    note.setAttribute('role', 'status');
    const link = document.createElement('a');
    link.href = location.href;
    link.textContent = 'Show it as it is now';
    note.append('Something on this page has changed. ', link);
    main().prepend(note);
  };

  let fetching = false;
  let again = false;
  const refresh = async () => {
    if (document.hidden) return;
    if (fetching) { again = true; return; }
    fetching = true;
    try {
      const page = await read(location.href);
      const next = page && page.getElementById('main');
      if (next) show(page, next);
    } catch { /* the next event, or the reader, tries again */ }
    fetching = false;
    if (again) { again = false; refresh(); }
  };

  const show = (page, next) => {
    const old = main();
    // What a hand is about to decide on does not move beneath it.
    const held = old.querySelector('form .primary[name=verdict]') && old.dataset.hold !== next.dataset.hold;
    if (typing() || held) { tellChanged(); return; }
    const opened = [...old.querySelectorAll('details')].map((d) => d.open);
    old.replaceChildren(...[...next.childNodes].map((n) => document.importNode(n, true)));
    [...old.querySelectorAll('details')].forEach((d, i) => { d.open = opened[i] ?? d.open; });
    for (const key of ['live', 'hold', 'every']) {
      if (key in next.dataset) old.dataset[key] = next.dataset[key]; else delete old.dataset[key];
    }
    document.title = page.title;
    tick();
    goOn();
    pace();
  };

  // Where somebody was going when they were refused.
  let going = false;
  const goOn = () => {
    const link = document.querySelector('a[data-continue]');
    if (!link || going || !link.href.startsWith('https://')) return;
    going = true;
    setTimeout(() => location.assign(link.href), 2500); // the gateway hears within a second or two
  };

  let timer = 0;
  const pace = () => {
    clearInterval(timer);
    const every = Number(main().dataset.every || 0);
    if (every > 0) timer = setInterval(refresh, every * 1000);
  };

  let source = null;
  const listen = () => {
    if (source || document.hidden || !('live' in main().dataset)) return;
    let opened = false;
    source = new EventSource('/events');
    source.addEventListener('change', refresh);
    source.addEventListener('open', () => { if (opened) refresh(); opened = true; });
  };
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      if (source) { source.close(); source = null; }
      return;
    }
    listen();
    if ('live' in main().dataset || main().dataset.every) refresh();
  });

  // A form is sent once.
  document.addEventListener('submit', (e) => {
    setTimeout(() => { for (const b of e.target.querySelectorAll('button')) b.disabled = true; });
  });
  addEventListener('pageshow', (e) => {
    if (e.persisted) for (const b of document.querySelectorAll('button')) b.disabled = false;
  });

  // The preview follows the form.
  const form = document.querySelector('form[data-preview]');
  if (form) {
    let wait = 0;
    let round = 0;
    const check = async () => {
      if (![...form.querySelectorAll('[required]:not([name=reason])')].every((e) => e.value.trim())) return;
      const mine = ++round;
      const data = new URLSearchParams(new FormData(form));
      data.set('do', 'check');
      try {
        const page = await read(form.action, { method: 'POST', body: data });
        const next = page && page.getElementById('preview');
        if (next && mine === round) document.getElementById('preview').replaceChildren(...[...next.childNodes].map((n) => document.importNode(n, true)));
      } catch { /* the button asks too */ }
    };
    form.addEventListener('input', (e) => {
      if (e.target.name === 'other') form.querySelector('input[value=other]').checked = true;
      clearTimeout(wait);
      wait = setTimeout(check, 350);
    });
  }

  tick();
  setInterval(tick, 1000);
  goOn();
  pace();
  listen();
})();
