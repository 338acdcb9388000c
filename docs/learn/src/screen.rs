//! The tour on a terminal.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Wrap};
use ratatui::{DefaultTerminal, Frame as Canvas};

use crate::stage::Pane;
use crate::tour::{Frame, Play};

/// How soon a signal is noticed.
const TICK: Duration = Duration::from_millis(100);

const KEYS: &str = "Enter: next step   b: step before   q: quit";

/// The terminal, which is as before when this is dropped.
pub(crate) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    pub(crate) fn new() -> Result<Screen> {
        // This restores the terminal on a panic, too.
        let terminal = ratatui::try_init()?;
        Ok(Screen { terminal })
    }

    /// Shows the steps until the viewer or a signal ends the tour.
    pub(crate) fn show(&mut self, play: &mut Play, ended: &AtomicBool) -> Result<()> {
        play.go_on();
        let mut shown = 0;
        while let Some(frame) = play.frames.get(shown) {
            self.terminal.draw(|canvas| draw(canvas, frame))?;
            match key(ended)? {
                KeyCode::Enter if shown + 1 < play.frames.len() || play.go_on() => shown += 1,
                KeyCode::Char('b') => shown = shown.saturating_sub(1),
                KeyCode::Char('q') => break,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Waits for a key, or for a new size of the terminal, which is no key. A signal and Ctrl-C are `q`.
fn key(ended: &AtomicBool) -> Result<KeyCode> {
    while !ended.load(Ordering::Relaxed) {
        if !event::poll(TICK)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.modifiers.contains(KeyModifiers::CONTROL) => break,
            Event::Key(key) => return Ok(key.code),
            _ => return Ok(KeyCode::Null),
        }
    }
    Ok(KeyCode::Char('q'))
}

/// The clients above, the server and its system calls below them.
fn draw(canvas: &mut Canvas, frame: &Frame) {
    let rows = [
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Fill(3),
        Constraint::Length(4),
        Constraint::Length(1),
    ];
    let [title, clients, server, text, keys] = Layout::vertical(rows).areas(canvas.area());
    canvas.render_widget(
        Line::from(frame.title.as_str()).style(Modifier::BOLD),
        title,
    );
    let (below, above) = frame.panes.split_at(2);
    draw_side_by_side(
        canvas,
        clients,
        above,
        &vec![Constraint::Fill(1); above.len()],
    );
    // System calls are longer than the server's lines.
    let widths = [Constraint::Fill(2), Constraint::Fill(3)];
    draw_side_by_side(canvas, server, below, &widths);

    let mut lines = vec![Line::from(frame.sentence.as_str())];
    let missing = frame
        .missing
        .iter()
        .map(|line| format!("Expected, but it did not come: {line}"));
    lines.extend(missing.map(|line| Line::from(line).style(Modifier::REVERSED)));
    canvas.render_widget(Paragraph::new(lines).wrap(Wrap::default()), text);
    canvas.render_widget(Line::from(KEYS).style(Modifier::DIM), keys);
}

fn draw_side_by_side(canvas: &mut Canvas, area: Rect, panes: &[Pane], widths: &[Constraint]) {
    let areas = Layout::horizontal(widths).split(area);
    for (pane, area) in panes.iter().zip(areas.iter()) {
        draw_pane(canvas, *area, pane);
    }
}

/// The last lines that fit, those of this step in bold.
fn draw_pane(canvas: &mut Canvas, area: Rect, pane: &Pane) {
    let block = Block::bordered().title(pane.title.as_str());
    let inner = block.inner(area);
    let (width, height) = (usize::from(inner.width.max(1)), usize::from(inner.height));
    let mut rows = Vec::new();
    for (index, line) in pane.lines.iter().enumerate() {
        let style = match index < pane.old {
            true => Style::new().add_modifier(Modifier::DIM),
            false => Style::new().add_modifier(Modifier::BOLD),
        };
        let chars: Vec<_> = line.chars().collect();
        let pieces = chars.chunks(width).map(String::from_iter);
        rows.extend(pieces.map(|piece| Line::from(piece).style(style)));
    }
    let rows = rows.split_off(rows.len().saturating_sub(height));
    canvas.render_widget(Paragraph::new(rows).block(block), area);
}
