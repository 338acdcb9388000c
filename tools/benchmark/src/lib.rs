//! The servers that the benchmark itself brings to compare with: see `benches/benchmark/main.rs`.

pub mod floor;
pub mod tokio_chat;
