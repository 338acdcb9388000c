//! The tour on a terminal.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use ratatui::Frame as Canvas;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Modifier;
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::paper::without_hyphens;
use crate::play::{Frame, Pane, Play};

/// How soon a signal is noticed.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// System calls are longer than the server's lines.
const WIDTHS: [Constraint; 2] = [Constraint::Fill(2), Constraint::Fill(3)];

const CTRL_C: KeyEvent = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);

const KEYS: &str = "Enter: next step   b: step before   q: quit";

/// Shows the steps until the viewer or a signal ends the tour. The terminal is left as it was.
pub(crate) fn show(play: &mut Play, ended: &AtomicBool) -> Result<()> {
    ratatui::run(|terminal| {
        play.go_on();
        let mut shown = 0;
        while let Some(frame) = play.frames.get(shown) {
            terminal.draw(|canvas| draw(canvas, frame))?;
            match key(ended)? {
                KeyCode::Enter if shown + 1 < play.frames.len() || play.go_on() => shown += 1,
                KeyCode::Char('b') => shown = shown.saturating_sub(1),
                KeyCode::Char('q') => break,
                _ => {}
            }
        }
        Ok(())
    })
}

/// Waits for a key, or for a new size of the terminal, which is no key. A signal, Ctrl-C and the end
/// of the terminal are `q`.
fn key(ended: &AtomicBool) -> Result<KeyCode> {
    let stdin = io::stdin();
    while !ended.load(Ordering::Relaxed) {
        let mut input = [PollFd::new(&stdin, PollFlags::IN)];
        let is_ready = poll(&mut input, Some(&TICK));
        // crossterm reads forever from a terminal that is gone.
        if input[0].revents().contains(PollFlags::HUP) {
            break;
        }
        if is_ready == Err(Errno::INTR) || !event::poll(Duration::ZERO)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key == CTRL_C => break,
            Event::Key(key) => return Ok(key.code),
            _ => return Ok(KeyCode::Null),
        }
    }
    Ok(KeyCode::Char('q'))
}

/// The clients above, the server and its system calls below them.
fn draw(canvas: &mut Canvas, frame: &Frame) {
    let mut text = vec![Line::from(frame.sentence.as_str())];
    for line in &frame.missing {
        let line = format!("Expected, but it did not come: {line}");
        text.push(Line::from(line).style(Modifier::REVERSED));
    }
    text.push(Line::from(KEYS).style(Modifier::DIM));
    let rows = [
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Fill(3),
        Constraint::Length(u16::try_from(text.len()).unwrap_or(u16::MAX)),
    ];
    let [title, clients, server, below] = Layout::vertical(rows).areas(canvas.area());
    let [server, calls] = Layout::horizontal(WIDTHS).areas(server);
    let heading = Line::from(frame.title.as_str()).style(Modifier::BOLD);
    canvas.render_widget(heading, title);
    canvas.render_widget(Paragraph::new(text), below);
    draw_pane(canvas, server, &frame.panes[0]);
    draw_pane(canvas, calls, &frame.panes[1]);
    let panes = &frame.panes[2..];
    let columns = Layout::horizontal(vec![Constraint::Fill(1); panes.len()]).split(clients);
    for (pane, column) in panes.iter().zip(columns.iter()) {
        draw_pane(canvas, *column, pane);
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
            true => Modifier::DIM,
            false => Modifier::BOLD,
        };
        let pieces = textwrap::wrap(line, without_hyphens(width));
        let row = |piece| Line::from(piece).style(style);
        rows.extend(pieces.into_iter().map(row));
    }
    let rows = rows.split_off(rows.len().saturating_sub(height));
    canvas.render_widget(Paragraph::new(rows).block(block), area);
}
