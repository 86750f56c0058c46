//! `starling detach`

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

use crate::{
    config::{self, PasswordSources, Sources},
    postgres::{self, Conninfo},
    replication,
    store::{self, Remains},
    terminal::output::{complain, harmless_lines, plural, print},
};

/// How long a node that seems to have left may take to end: `starling leave` returns before its process does.
const END_LIMIT: Duration = Duration::from_secs(20);

/// Between two looks whether it has ended.
const END_PAUSE: Duration = Duration::from_millis(300);

const EXAMPLES: &str = "\
Examples:
  starling leave                                       first, while the node runs
  starling detach --postgres postgresql://me@db.example/shop
                                                       say what would be removed
  starling detach --postgres postgresql://me@db.example/shop --yes
                                                       remove it

Removed are: the data links with their slots, publications, subscriptions and roles; the role
starling_replication, unless another database of the server needs it; the schemas crdv, with its
data, and crdv_link. The database's search_path becomes what it was, unless somebody has changed it
since. What others have put into the schemas or built upon them is never removed: it is named, with
what moves it away.

The node's data directory stays; with it the node can be attached again, as a new site.

Exit code: 0 removed, or nothing to remove, or said what would be; 1 something is in the way.";

/// Take everything of Starling out of a database of yours, and put back what it had before
///
/// Works on the database of a node that has left the cluster and ended. Without --yes it only says
/// what it would do.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The database [default: store.postgres of the configuration]
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    #[arg(
        long,
        value_name = "FILE",
        help = "Configuration file, TOML [env: STARLING_CONFIG]"
    )]
    config: Option<PathBuf>,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Also if the node has not left: what only this store has is lost
    #[arg(long)]
    abandon: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut sources = Sources::from_environment();
    sources.file = args.config;
    sources.flags = args
        .postgres
        .map(|url| ("postgres".to_owned(), vec![url]))
        .into_iter()
        .collect();
    let store = config::load(&sources)?.config.store;
    let Some(mut connection) = store.connection(&PasswordSources::from_environment()) else {
        bail!(
            "no database is named: give --postgres URL. A private server goes with its data directory"
        )
    };
    // Not to be taken for a node.
    connection.application_name("starling detach");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(detach(connection, args.yes, args.abandon))
}

async fn detach(connection: Conninfo, yes: bool, abandon: bool) -> anyhow::Result<ExitCode> {
    // Kept until the end: this session holds the lock that keeps controllers away from the store.
    let mut client = postgres::open(&connection)
        .await
        .context("cannot connect to the database")?;
    let until = Instant::now() + END_LIMIT;
    let mut told = false;
    let (remains, links) = loop {
        let Some(remains) = store::remains(&mut client).await? else {
            print("nothing of Starling is in this database")?;
            return Ok(ExitCode::SUCCESS);
        };
        // Links are looked for by the store's site. A store without an identity has none, and cannot be linked.
        let links = match &remains.owner {
            Some(_) => replication::count_links(connection.clone()).await?,
            None => 0,
        };
        if !may_be_ending(&remains, links) || Instant::now() >= until {
            break (remains, links);
        }
        if !told {
            complain("waiting for the node on this store to end");
            told = true;
        }
        sleep(END_PAUSE).await;
    };
    // Names come from the database.
    print(&harmless_lines(&describe(&remains, links)))?;
    if let Some(obstacle) = obstacle(&remains, links, abandon) {
        complain(&format!("error: {obstacle}"));
        return Ok(ExitCode::FAILURE);
    }
    if !yes {
        print("nothing was changed; --yes does it")?;
        return Ok(ExitCode::SUCCESS);
    }
    // The schema goes last: links are found by what it says, and the role's rights are on its tables. What
    // fails before leaves it in place, and the command can be given again.
    if remains.owner.is_some() {
        let links = replication::clear(connection.clone()).await?;
        print(&format!("taken down: {}", plural(links, "data link")))?;
    }
    replication::drop_group(connection).await?;
    print("the links' role has nothing here any more")?;
    store::remove(&mut client).await?;
    print("Starling is out of the database")?;
    Ok(ExitCode::SUCCESS)
}

/// What would be removed.
fn describe(remains: &Remains, links: usize) -> String {
    let owner = match &remains.owner {
        Some((node, cluster)) => format!("of node {node}, cluster {cluster}"),
        None => "without an identity".to_owned(),
    };
    let mut lines = vec![
        "to be removed:".to_owned(),
        format!(
            "  schema crdv, a store {owner}, with {}: lost here",
            plural(remains.operations, "operation")
        ),
        format!(
            "  {} with slots, publications, subscriptions and roles",
            plural(links, "data link")
        ),
        "  role starling_replication, unless another database of the server needs it".to_owned(),
    ];
    match &remains.path {
        Some(Some(path)) => lines.push(format!("search_path becomes what it was: {path}")),
        Some(None) => lines.push("search_path becomes the server's again".to_owned()),
        None => {}
    }
    let mentions = remains.mentions.iter();
    lines
        .extend(mentions.map(|name| format!("note: {name} names crdv in its text, and will fail")));
    let roles = remains.app_roles.iter();
    lines.extend(roles.map(|name| {
        format!(
            "note: login role {name} stays, because other databases of the server may use it; if none does: \
             drop owned by {name}; drop role {name}"
        )
    }));
    lines.join("\n")
}

/// A node that has left has taken its links down, and ends. One that never had a peer looks the same.
fn may_be_ending(remains: &Remains, links: usize) -> bool {
    remains.in_use && links == 0
}

/// Why it is not done, and what to do about it.
fn obstacle(remains: &Remains, links: usize, abandon: bool) -> Option<String> {
    if remains.in_use {
        return Some(
            "a node runs on this store: let it leave first (starling leave), or end its process"
                .to_owned(),
        );
    }
    // Before strangers: what is one is told by the objects that this version knows.
    if !remains.is_current {
        return Some(
            "the store was made by another version of starling: use that one, or start a node of this \
             one on it first"
                .to_owned(),
        );
    }
    if !remains.strangers.is_empty() {
        return Some(format!(
            "the schema holds what is not Starling's; move it away, for example with \
             alter table crdv.NAME set schema public, or drop it:\n  {}",
            remains.strangers.join("\n  ")
        ));
    }
    // With a cascade, views and constraints of others would go as well.
    if !remains.dependents.is_empty() {
        let lines = remains.dependents.iter().map(|one| match &one.fix {
            Some(fix) => format!("\n  {}; for example: {fix};", one.name),
            None => format!("\n  {}", one.name),
        });
        return Some(format!(
            "others depend on the schema; change them to do without, or drop them:{}",
            lines.collect::<String>()
        ));
    }
    // A node that leaves takes its links down. So links tell that it has not, and others may lack its writes.
    (links > 0 && !abandon).then(|| {
        "the node has not left its cluster: let it leave first (starling leave; start it if it does not run); \
         or give up what only this store has with --abandon"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::{may_be_ending, obstacle};
    use crate::store::Remains;

    fn remains(in_use: bool) -> Remains {
        Remains {
            owner: None,
            operations: 0,
            is_current: true,
            in_use,
            strangers: Vec::new(),
            dependents: Vec::new(),
            mentions: Vec::new(),
            app_roles: Vec::new(),
            path: None,
        }
    }

    #[test]
    fn only_a_node_that_has_taken_its_links_down_is_waited_for() {
        for (in_use, links, waits) in [
            (true, 0, true),
            (true, 2, false),
            (false, 0, false),
            (false, 2, false),
        ] {
            assert_eq!(may_be_ending(&remains(in_use), links), waits);
        }
    }

    #[test]
    fn a_node_that_has_not_left_is_to_leave_whether_it_runs_or_not() {
        for (in_use, links) in [(true, 0), (true, 2), (false, 2)] {
            let why = obstacle(&remains(in_use), links, false).unwrap();
            assert!(why.contains("let it leave first (starling leave"), "{why}");
        }
        assert_eq!(obstacle(&remains(false), 0, false), None);
        assert_eq!(obstacle(&remains(false), 2, true), None);
    }
}
