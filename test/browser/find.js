// Finds things on a page by what a person calls them. Each look returns a list:
// none is "not there yet", more than one is "say which".

const tidy = (s) => (s || '').replace(/\s+/g, ' ').trim();

const visible = (e) => {
  const r = e.getBoundingClientRect();
  return r.width > 0 && r.height > 0 && getComputedStyle(e).visibility !== 'hidden';
};

// called is the name of something that is clicked.
const called = (e) => {
  const own = e.matches('input[type=submit], input[type=button], input[type=reset]') ? e.value : e.innerText;
  return tidy(e.getAttribute('aria-label')) || tidy(own) || fieldNames(e)[0] || '';
};

// labelText is a label's text without that of the field inside it.
const labelText = (label) => {
  const copy = label.cloneNode(true);
  copy.querySelectorAll('input, select, textarea, button').forEach((e) => e.remove());
  return tidy(copy.textContent);
};

const fieldNames = (e) => [...(e.labels || [])].map(labelText)
  .concat(tidy(e.getAttribute('aria-label')), tidy(e.placeholder), e.name, e.id).filter(Boolean);

const select = (css) => {
  try {
    return [...document.querySelectorAll(css)].filter(visible);
  } catch {
    return []; // a name, not a selector
  }
};

const clickable = (what) => {
  const named = (css, name) => select(css).filter((e) => name(e) === tidy(what));
  for (const list of [
    named('button, a[href], summary, [role=button], [role=tab], [role=menuitem], input[type=submit], input[type=button], input[type=reset]', called),
    named('label', labelText), select(what),
  ]) if (list.length) return list;
  return [];
};

const field = (label) => {
  const all = select('input:not([type=hidden]), select, textarea');
  const named = all.filter((e) => fieldNames(e).includes(tidy(label)));
  return named.length ? named : select(label);
};

// spot brings the one thing found into view and says where to click it.
const spot = (list) => {
  if (list.length !== 1) return { found: list.length };
  const e = list[0];
  e.scrollIntoView({ block: 'center', inline: 'center', behavior: 'instant' });
  const r = e.getClientRects()[0]; // a link that wraps has two
  const x = r.left + r.width / 2, y = r.top + r.height / 2;
  const top = document.elementFromPoint(x, y);
  const hit = top && (e.contains(top) || top.contains(e) || [...(top.labels || [])].includes(e));
  return { found: 1, x, y, over: hit ? '' : (top ? top.outerHTML.slice(0, 80) : 'the edge of the window') };
};

// fill makes the field ready for typing, or sets what is not typed.
const fill = (list, value) => {
  if (list.length !== 1) return { found: list.length };
  const e = list[0];
  if (e.disabled || e.readOnly) return { found: 1, error: 'it cannot be changed' };
  e.focus();
  let to = '', typed = true;
  if (e instanceof HTMLSelectElement) {
    const option = [...e.options].find((o) => tidy(o.text) === tidy(value)) || [...e.options].find((o) => o.value === value);
    if (!option || option.disabled) return { found: 1, error: `it does not offer ${value}` };
    to = option.value;
    typed = false;
  } else if (['date', 'time', 'datetime-local', 'month', 'week', 'color', 'range'].includes(e.type)) {
    to = value;
    typed = false;
  }
  e.value = to;
  e.dispatchEvent(new Event('input', { bubbles: true }));
  if (!typed) e.dispatchEvent(new Event('change', { bubbles: true }));
  return { found: 1, typed };
};
