// Tables and long names on a narrow screen; book.css does the rest. Without scripts, a wide table scrolls.

// A name may wrap after `_`, `/`, `(`, `::` or `.`, not inside a word or a number.
for (const code of document.querySelectorAll('main code:not(pre code)')) {
    for (const text of [...code.childNodes].filter(node => node.nodeType === Node.TEXT_NODE)) {
        const parts = text.data.split(/(?<=[_/(]|::|\w\.(?=[a-z]))(?=[\w"&])/);
        text.replaceWith(...parts.flatMap((part, i) => i ? [document.createElement('wbr'), part] : [part]));
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
