//! Tokio used in the plainest way: two tasks for each client, one to read and one to write, and a
//! broadcast channel between them.

use std::env;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};

/// Lines in the channel. A client that falls further behind loses the oldest.
const CAPACITY: usize = 1024;

/// A line and the client that sent it.
type Line = (SocketAddr, Arc<str>);

/// Serves on the address that is its argument, until it is killed.
#[tokio::main]
async fn main() -> Result<()> {
    let listener = TcpListener::bind(env::args().nth(1).context("no address")?).await?;
    let (lines, _) = broadcast::channel(CAPACITY);
    loop {
        let (stream, client) = listener.accept().await?;
        // As the milestones do: a short line is sent at once.
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let writing = tokio::spawn(write(writer, client, lines.subscribe()));
        let reading = read(reader, client, lines.clone());
        tokio::spawn(async move {
            // An error disconnects the client, as end of file does.
            drop(reading.await);
            writing.abort();
        });
    }
}

async fn read(reader: OwnedReadHalf, client: SocketAddr, lines: Sender<Line>) -> Result<()> {
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    while reader.read_line(&mut line).await? > 0 {
        lines.send((client, line.as_str().into()))?;
        line.clear();
    }
    Ok(())
}

async fn write(
    mut writer: OwnedWriteHalf,
    client: SocketAddr,
    mut lines: Receiver<Line>,
) -> Result<()> {
    loop {
        match lines.recv().await {
            Ok((sender, line)) if sender != client => writer.write_all(line.as_bytes()).await?,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}
