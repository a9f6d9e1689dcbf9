//! The script, played by our client: `wire_script BEHAVIOUR URL`. Lines on stdout ask for a
//! step of the recorder's, lines on stdin say that it is done.

use hubstorm::sdk::{Behaviour, Client, Credential, Event, Events};

fn step(name: &str) -> std::io::Result<()> {
    println!("{name}");
    std::io::stdin().read_line(&mut String::new()).map(|_| ())
}

async fn connected(events: &mut Events) {
    while let Some(event) = events.next().await {
        if matches!(event, Event::Connected { .. }) {
            return;
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(name), Some(url)) = (args.next(), args.next()) else {
        return Err("usage: wire_script BEHAVIOUR URL".into());
    };
    let behaviour = Behaviour::ALL
        .into_iter()
        .find(|behaviour| behaviour.name() == name)
        .ok_or("BEHAVIOUR is spec, python, js, dotnet or java")?;
    let (client, mut events) = Client::builder(Credential::url(&url)?)
        .behaves_like(behaviour)
        .connect()
        .await?;
    connected(&mut events).await;
    client.join("g").await?;
    for number in 0..20 {
        client.send_to_group("g", format!("m-{number}")).await?;
    }
    step("settle")?;
    step("drop")?;
    client.send_to_group("g", "after the drop").await?;
    step("settle")?;
    step("restart")?;
    connected(&mut events).await;
    step("settle")?;
    client.send_to_group("g", "after the restart").await?;
    client.leave("g").await?;
    step("settle")?;
    client.stop().await;
    step("end")?;
    Ok(())
}
