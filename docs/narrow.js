// Tables and long names on a narrow screen; book.css does the rest. Without scripts, a wide table scrolls.

// A name stays whole. Only one that is too long for a phone may wrap, after `_`, `/`, `(`, `::` or `.`.
const LONG_NAME = 30;
const LONG_LINE = 45;
const SEAM = /(?<=[_/(]|::|\w\.(?=[a-z]))(?=[\w"&])/;
const whole = part => Object.assign(document.createElement('span'), { className: 'whole', textContent: part });
function wrap(word) {
    if (word === ' ') return [word];
    const parts = word.length > LONG_NAME ? word.split(SEAM) : [word];
    return parts.flatMap((part, i) => i ? [document.createElement('wbr'), whole(part)] : [whole(part)]);
}
for (const place of document.querySelectorAll('main code:not(pre code), main th')) {
    place.classList.toggle('long', place.textContent.length > LONG_LINE);
    for (const text of [...place.childNodes].filter(node => node.nodeType === Node.TEXT_NODE)) {
        text.replaceWith(...text.data.split(/(?= )|(?<= )/).flatMap(wrap));
    }
}

// On a phone a row becomes a card, in which each cell has the title of its column.
for (const table of document.querySelectorAll('main table')) {
    const titles = [...table.querySelectorAll('th')].map(title => title.textContent);
    for (const row of table.querySelectorAll('tbody tr')) {
        [...row.cells].forEach((cell, i) => { cell.dataset.title = titles[i]; });
    }
}

// What scrolls sideways can be scrolled with the keyboard.
for (const wide of document.querySelectorAll('main pre > code, main .table-wrapper')) {
    if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
}

// On paper, nothing can be unfolded.
addEventListener('beforeprint', () => {
    for (const details of document.querySelectorAll('main details:not([open])')) {
        details.open = true;
        addEventListener('afterprint', () => { details.open = false; }, { once: true });
    }
});
