//! A file as a group stream: `cargo run --example stream -- URL ROOM send < FILE` and, before
//! it, `cargo run --example stream -- URL ROOM`, which writes the first stream it hears to
//! its output. URL e.g. `ws://127.0.0.1:8080/client/hubs/chat` with `hubstorm hub` running.

use std::io::{Read as _, Write as _, stdin, stdout};

use hubstorm::sdk::{Client, Credential, Event, PartOrder, StreamEnd};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(room), send) = (args.next(), args.next(), args.next()) else {
        return Err("usage: stream URL ROOM [send]".into());
    };
    let (client, mut events) = Client::connect(Credential::url(&url)?).await?;
    if send.is_some() {
        let mut stream = client.open_stream(&room).await?;
        let mut part = vec![0; 16 * 1024];
        while let length @ 1.. = stdin().read(&mut part)? {
            // Waits when the hub is behind; what is lost in a cut is sent again.
            stream.write(part[..length].to_vec()).await?;
        }
        stream.end().await?;
        eprintln!("sent, and accepted whole");
    } else {
        client.join(&room).await?;
        eprintln!("listening");
        while let Some(event) = events.next().await {
            let Event::GroupMessage(message) = event else {
                continue;
            };
            let Some(mark) = &message.stream else {
                continue;
            };
            if !matches!(mark.order, PartOrder::First | PartOrder::Next) {
                return Err(format!("part {} came as {:?}", mark.number, mark.order).into());
            }
            match &mark.end {
                None => stdout().write_all(message.data.as_bytes())?,
                Some(StreamEnd::Whole) => break,
                Some(failed) => return Err(format!("the stream ended: {failed:?}").into()),
            }
        }
    }
    client.stop().await;
    Ok(())
}
