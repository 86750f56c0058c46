//! Whole nodes under chaos, in processes of their own: commits that hang, crashes, leaves, clones, restores,
//! promotions and changed settings, while transactions go on at every node. In the end all stores are equal,
//! each acknowledged transaction is in all of them, and all that a store counts is what it holds.
//!
//! In the ordinary run each kind of event comes once, in an order that is drawn. `STARLING_CHAOS_SECONDS` makes
//! a campaign of it; `STARLING_CHAOS_SEED` repeats a run's choices, not its timing. That the judges notice is proved
//! by stores in which a rule has been taken out.

#![allow(
    clippy::print_stdout,
    reason = "a run tells its seed and what befell it"
)]

#[path = "chaos_nodes/clients.rs"]
mod clients;
#[path = "chaos_nodes/events.rs"]
mod events;
#[path = "chaos_nodes/flock.rs"]
mod flock;
#[path = "chaos_nodes/verdict.rs"]
mod verdict;

use std::{env, time::Duration};

use rand::{
    SeedableRng,
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};
use tokio::time::{Instant, sleep};

use events::Event;
use flock::Flock;

/// What no judge may find.
type Violations = Vec<String>;

/// How a store is broken on purpose, before anything happens to it.
#[derive(Debug, Clone, Copy)]
struct Sabotage(&'static str);

/// Lets `events` befall the nodes, with time for the clients between them; what the judges say in the end.
async fn run(
    rng: StdRng,
    events: impl Iterator<Item = Event>,
    sabotage: Option<Sabotage>,
) -> Violations {
    let mut flock = Flock::start(rng, sabotage).await;
    let started = Instant::now();
    let mut violations = Violations::new();
    for event in events {
        let since = Instant::now();
        let found = flock.befall(event).await;
        println!(
            "{:6.1} s: {event:?} took {:.1} s {}",
            started.elapsed().as_secs_f32(),
            since.elapsed().as_secs_f32(),
            found.as_deref().unwrap_or_default()
        );
        violations.extend(found);
        // A store that was broken on purpose is found out already.
        if sabotage.is_some() && !violations.is_empty() {
            return violations;
        }
        sleep(Duration::from_millis(flock.draw(0..2_000))).await;
    }
    let (flock, acknowledged) = flock.calm().await;
    println!("{} transactions acknowledged", acknowledged.len());
    assert!(!acknowledged.is_empty());
    violations.extend(verdict::judge(&flock.nodes(), &acknowledged).await);
    violations
}

fn seed() -> u64 {
    let given = env::var("STARLING_CHAOS_SEED").ok();
    let seed = given.map_or_else(
        || u64::from(rand::random::<u32>()),
        |seed| seed.parse().unwrap(),
    );
    println!("STARLING_CHAOS_SEED={seed}");
    seed
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_nodes_survive_chaos() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let violations = if let Ok(seconds) = env::var("STARLING_CHAOS_SECONDS") {
        let end = Instant::now() + Duration::from_secs(seconds.parse().unwrap());
        let mut choice = StdRng::seed_from_u64(seed + 1);
        let events = std::iter::from_fn(move || {
            (Instant::now() < end).then(|| *Event::ALL.choose(&mut choice).unwrap())
        });
        run(rng, events, None).await
    } else {
        let mut events = Event::ALL;
        events.shuffle(&mut rng);
        run(rng, events.into_iter(), None).await
    };
    assert_eq!(violations, Violations::new(), "seed {seed}");
}

/// What is written while a node leaves is lost if its store stays open.
#[tokio::test(flavor = "multi_thread")]
async fn chaos_notices_that_a_store_stays_open_while_its_node_leaves() {
    let open = "create or replace function crdv.close_to_writers() returns void
                language sql set search_path = pg_catalog as 'select';
                do $$ begin execute replace(pg_get_functiondef('crdv.checkpoint_last()'::regprocedure),
                  'crdv.siteid() is not null', 'false'); end $$";
    assert_notices(&[Event::Leave; 4], Sabotage(open)).await;
}

/// A server that was promoted acknowledges what then counts as another's if nothing holds its writers up.
#[tokio::test(flavor = "multi_thread")]
async fn chaos_notices_that_a_store_takes_any_server_for_its_own() {
    let anywhere = "create or replace function crdv.here() returns text
                    language sql stable set search_path = pg_catalog as $$select ''$$;
                    select crdv.open_to_writers()";
    assert_notices(&[Event::Promotion; 2], Sabotage(anywhere)).await;
}

async fn assert_notices(events: &[Event], sabotage: Sabotage) {
    let rng = StdRng::seed_from_u64(seed());
    let violations = run(rng, events.iter().copied(), Some(sabotage)).await;
    println!("{violations:#?}");
    assert_ne!(violations, Violations::new());
}
