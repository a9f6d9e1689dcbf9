//! A chat: `cargo run --example chat -- URL ROOM`, e.g. with `hubstorm hub` running and
//! `ws://127.0.0.1:8080/client/hubs/chat` as URL. What is typed goes to the room.

use std::io::{BufRead as _, stdin};

use hubstorm::sdk::{Client, Credential, Event};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(room)) = (args.next(), args.next()) else {
        return Err("usage: chat URL ROOM".into());
    };
    let (client, mut events) = Client::connect(Credential::url(&url)?).await?;
    client.join(&room).await?;
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Event::GroupMessage(message) = event {
                let from = message.from_user_id.as_deref().unwrap_or("somebody");
                println!("{from}: {}", message.text().unwrap_or("(not text)"));
            }
        }
    });
    let (lines, mut typed) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        let mut lines_read = stdin().lock().lines().map_while(Result::ok);
        lines_read.try_for_each(|line| lines.blocking_send(line))
    });
    while let Some(line) = typed.recv().await {
        client.send_to_group(&room, line).no_echo().await?;
    }
    client.stop().await;
    Ok(())
}
