//! `starling doctor`

use std::process::ExitCode;

use anyhow::Context;

use super::{
    ask::AskArgs,
    finding::{exit_code, render},
};
use crate::{
    api::StoreRequirements,
    config::{self, PasswordSources, PostgresUrl, Sources, Store},
    doctor::judge,
    finding::{Finding, Severity},
    http::ClientError,
    network,
    postgres::doctor::{RESTART, Requirements, inspect},
    terminal::output::{Format, complain, harmless, harmless_lines, print, print_json},
};

const EXAMPLES: &str = "\
Examples:
  starling doctor                                  the node that runs on this machine
  starling doctor postgresql://me@db.example.org/starling
                                                   a server, before attaching to it
  starling doctor --sql postgresql://me@db.example.org/starling
                                                   what mends it, to read and to give to psql

Exit code: 0 ok, 1 warning, 2 critical, 3 unknown.";

/// Check a PostgreSQL server or a running node; say what mends each finding
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The server to check; without it the running node and its store
    #[arg(value_name = "URL")]
    server: Option<String>,
    /// The same, named as in the other commands
    #[arg(long, value_name = "URL", hide = true, conflicts_with = "server")]
    postgres: Option<String>,
    /// Print only the SQL that mends what was found, for psql
    #[arg(long, conflicts_with = "output")]
    sql: bool,
    #[command(flatten)]
    ask: AskArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let findings = match args.server.as_ref().or(args.postgres.as_ref()) {
        Some(url) => {
            let url = url.parse().map_err(anyhow::Error::msg)?;
            examine_server(url, Requirements::default())?
        }
        None => examine_node(args)?,
    };
    match args.ask.output {
        // First, for the format has its default all the same.
        _ if args.sql => give_script(&findings)?,
        Format::Json => print_json(&findings)?,
        Format::Table => print(&render(&findings))?,
    }
    Ok(exit_code(&findings))
}

/// The statements on standard output. On standard error what no statement mends, and what `psql` would not
/// pass on to whoever gives it the statements.
fn give_script(findings: &[Finding]) -> anyhow::Result<()> {
    let script = script(findings);
    // An empty line would be no statement, but looks like one that is missing.
    if !script.is_empty() {
        print(&script)?;
    }
    let aside = aside(findings);
    if !aside.is_empty() {
        complain(&aside);
    }
    Ok(())
}

/// What is wrong.
fn bad(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings
        .iter()
        .filter(|finding| finding.severity != Severity::Ok)
}

/// What a script cannot do, in words.
fn aside(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for finding in bad(findings) {
        match finding.sql() {
            None => {
                let what = harmless_lines(&finding.text());
                lines.push(format!("{}: {what}", harmless(&finding.code)));
                let fix = finding.fix.as_deref().map(harmless_lines);
                lines.extend(fix.map(|fix| format!("  fix: {fix}")));
            }
            Some(sql) if sql.ends_with(RESTART) => lines.push(format!(
                "{}: the server must be restarted after the statement",
                harmless(&finding.code)
            )),
            Some(_) => {}
        }
    }
    lines.join("\n")
}

/// The statements, each below what it mends. One a line: `alter system` takes no transaction.
///
/// `psql` is to run it, and names in it come from the server that is examined: none may end a comment, and
/// none may be a command of `psql`, which begins with a backslash wherever it stands.
fn script(findings: &[Finding]) -> String {
    let fixes = bad(findings).filter_map(|finding| Some((finding, finding.sql()?)));
    fixes.fold(String::new(), |text, (finding, sql)| {
        let (code, what) = (harmless(&finding.code), harmless(&finding.summary));
        let fix = if sql.contains(|c: char| c == '\\' || c.is_control()) {
            format!("-- not for psql, look at it yourself: {}", harmless(sql))
        } else if let Some(statement) = sql.strip_suffix(RESTART) {
            format!("{}\n{RESTART}", statement.trim_end())
        } else if sql.ends_with(';') {
            sql.to_owned()
        } else {
            format!("{sql};")
        };
        text + &format!("-- {code} {what}\n{fix}\n")
    })
}

/// The node, and then the server that it names as its store.
fn examine_node(args: &Args) -> anyhow::Result<Vec<Finding>> {
    let status = match args.ask.node.client().status() {
        Ok(status) => status,
        Err(error) => {
            // As `starling status` ends: silence is a node that is down; who answers otherwise may be well.
            let severity = match error {
                ClientError::NoNode(_) | ClientError::Silent(_) => Severity::Critical,
                ClientError::Refused { .. }
                | ClientError::Stranger { .. }
                | ClientError::Token { .. } => Severity::Unknown,
            };
            return Ok(vec![Finding::of_node(
                "SN000",
                severity,
                error.to_string(),
                None,
            )]);
        }
    };
    let mut findings = judge(&status);
    // There is none before the store has been up; then what the node has found itself must do.
    if let Ok(url) = status.store.url.parse() {
        let remote_peers = !status
            .node
            .listen
            .iter()
            .all(|address| network::is_loopback(address));
        let requirements = Requirements {
            remote_peers,
            plain_names: status.store.off_path.is_none(),
            is_private: status.store.is_private,
            ..needed(status.store.requirements, status.overlay.active.len())
        };
        let own = examine_server(url, requirements)?;
        // What we see ourselves is newer than what the node has seen.
        findings.retain(|told| own.iter().all(|seen| seen.code != told.code));
        findings.extend(own);
    }
    Ok(findings)
}

/// What the node's settings ask of its server. A node of an earlier version does not tell them: what it has,
/// its `neighbors`, it needs.
fn needed(told: Option<StoreRequirements>, neighbors: usize) -> Requirements {
    let default = Requirements::default();
    let has = u16::try_from(neighbors).unwrap_or(u16::MAX);
    match told {
        Some(told) => Requirements::for_node(told.links_min, told.slot_bytes_max),
        None => Requirements::for_node(has.max(default.links_min), default.slot_bytes_max),
    }
}

fn examine_server(url: PostgresUrl, requirements: Requirements) -> anyhow::Result<Vec<Finding>> {
    // The password that a node would use, if this environment has it.
    let password = config::store_password(&Sources::from_environment())?;
    let store = Store {
        postgres: Some(url),
        password,
        ..Store::default()
    };
    // There is one: the server was named above.
    let Some(connection) = store.connection(&PasswordSources::from_environment()) else {
        return Ok(Vec::new());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    Ok(runtime.block_on(inspect(&connection, requirements)))
}

#[cfg(test)]
mod tests {
    use super::{aside, needed, script};
    use crate::{
        api::StoreRequirements,
        finding::{Finding, Severity},
        postgres::doctor::{RESTART, Requirements},
    };

    #[test]
    fn a_server_is_examined_for_what_its_node_is_set_up_for() {
        for (links_min, slot_bytes_max) in [(1, 1 << 40), (5, 1 << 30), (64, 16 << 20)] {
            let told = Some(StoreRequirements {
                links_min,
                slot_bytes_max,
            });
            let examined_for = Requirements::for_node(links_min, slot_bytes_max);
            // Whatever it has at the moment.
            assert_eq!(needed(told, 0), examined_for);
            assert_eq!(needed(told, 7), examined_for);
        }
        assert_eq!(needed(None, 0), Requirements::default());
        assert_eq!(needed(None, 7).links_min, 7);
    }

    fn fixed(summary: &str, fix: &str) -> String {
        script(&[Finding::bad("SP050", Severity::Critical, summary, "").fixed_by(fix)])
    }

    #[test]
    fn a_script_has_a_comment_and_a_statement_for_each_finding() {
        assert_eq!(
            fixed("a rule is there", "drop rule r on crdv.element"),
            "-- SP050 a rule is there\ndrop rule r on crdv.element;\n"
        );
        assert_eq!(fixed("of no use", "start it"), "");
    }

    #[test]
    fn that_the_server_must_be_restarted_is_a_comment_and_is_said_aside() {
        let fix = format!("alter system set wal_level = 'logical'; {RESTART}");
        let finding = Finding::bad("SP002", Severity::Critical, "wal_level is replica", "");
        let findings = [finding.fixed_by(fix)];
        assert_eq!(
            script(&findings),
            "-- SP002 wal_level is replica\nalter system set wal_level = 'logical';\n\
             -- then restart the server\n"
        );
        assert_eq!(
            aside(&findings),
            "SP002: the server must be restarted after the statement"
        );
    }

    #[test]
    fn what_no_statement_mends_is_said_aside() {
        let reason = "no server answers at db:5432";
        let findings = [
            Finding::ok("SP001", "version 18"),
            Finding::bad(
                "SP000",
                Severity::Critical,
                "cannot be connected to",
                reason,
            ),
            Finding::bad("SP018", Severity::Warning, "a", "b").fixed_by("start it"),
            Finding::bad("SP019", Severity::Warning, "c", "d").fixed_by("select 1;"),
        ];
        assert_eq!(
            aside(&findings),
            "SP000: cannot be connected to: no server answers at db:5432\nSP018: a: b\n  fix: start it"
        );
    }

    #[test]
    fn names_of_a_foreign_server_become_no_statement() {
        for end in ['\n', '\r'] {
            let text = fixed(&format!("a trigger{end}drop table t;"), "select 1;");
            assert_eq!(text.lines().count(), 2, "{text:?}");
            assert!(
                !text.contains('\r') && text.ends_with("\nselect 1;\n"),
                "{text:?}"
            );
        }
        for fix in [
            "drop rule r \\! id",
            "drop rule \"r\n\\! id\"",
            "drop rule \"r\nt\"",
        ] {
            let text = fixed("a rule", fix);
            assert!(text.lines().all(|line| line.starts_with("--")), "{text:?}");
        }
    }
}
