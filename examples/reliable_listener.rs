//! Listens to a group and tells of every lost line: `cargo run --example reliable_listener --
//! URL GROUP`. Cut the network for less than 30 s: the numbers go on without a gap.

use hubstorm::sdk::{Client, Credential, Event};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(group)) = (args.next(), args.next()) else {
        return Err("usage: reliable_listener URL GROUP".into());
    };
    let (client, mut events) = Client::connect(Credential::url(&url)?).await?;
    client.join(&group).await?;
    while let Some(event) = events.next().await {
        match event {
            Event::GroupMessage(message) => {
                let number = message.sequence_id.unwrap_or_default();
                println!("{number}: {:?}", message.data);
            }
            Event::Recovering { connection_id } => println!("-- {connection_id}: line lost"),
            Event::Recovered { connection_id } => println!("-- {connection_id}: nothing lost"),
            Event::Disconnected { connection_id, .. } => println!("-- {connection_id} is lost"),
            Event::Connected { connection_id, .. } => println!("-- connected as {connection_id}"),
            Event::RejoinFailed { group, error } => println!("-- out of {group}: {error}"),
            Event::Missed(events) => println!("-- too slow: {events} events missed"),
            Event::Stopped => break,
            Event::ServerMessage(_) => {}
        }
    }
    Ok(())
}
