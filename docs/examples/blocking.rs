use std::io::{BufRead, BufReader, Result};
use std::net::TcpListener;

fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:8080")?;
    loop {
        let (client, _) = listener.accept()?;
        for line in BufReader::new(client).lines() {
            println!("{}", line?);
        }
    }
}
