//! `starling app-role`

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::ask::{AskArgs, NodeArgs};
use crate::{
    api::{AppRole, AppRoleRequest, AppRoleState, NewAppRole},
    http::Client,
    store::scram_verifier,
    terminal::{
        output::{Format, complain, harmless, print, print_json, short},
        table::{Cell, Table, Tone},
    },
};

/// 192 random bits.
const PASSWORD_WORDS: usize = 3;

/// Nobody types more.
const PASSWORD_BYTES_MAX: u64 = 1024;

/// How long the node's own server is waited for. Most take a tenth of a second.
const SETTLE_MAX: Duration = Duration::from_secs(10);

const SETTLE_PAUSE: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  starling app-role add shop                           prints a password, once
  starling app-role add shop --password-file FILE      takes yours; - reads it from standard input
  starling app-role password shop                      gives it another one; sessions go on
  starling app-role remove shop                        ends its sessions, everywhere

The password leaves this command as a SCRAM-SHA-256 verifier only.";

/// Login roles for applications, the same on all nodes
///
/// A role gets what `usage` on schema `crdv` gives, and nothing else. Nodes that are away get it, or
/// lose it, when they are back.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a role on all nodes
    Add(PasswordArgs),
    /// Give a role another password on all nodes
    Password(PasswordArgs),
    /// Remove a role from all nodes, and end its sessions
    Remove(RemoveArgs),
    /// List the roles, and how they stand on this node's server
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
struct PasswordArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The role: small letters, digits and underscores
    name: String,
    /// A file with the password in its first line, or - for standard input; without it one is made
    /// and printed
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct RemoveArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The role
    name: String,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    ask: AskArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Add(args) => add(args),
        Verb::Password(args) => rotate(args),
        Verb::Remove(args) => remove(args),
        Verb::List(args) => list(args),
    }
}

fn add(args: &PasswordArgs) -> anyhow::Result<ExitCode> {
    let (client, password) = (args.node.client(), Password::of(args)?);
    client.add_app_role(&NewAppRole {
        name: args.name.clone(),
        verifier: scram_verifier(&password.text),
    })?;
    // Before its server is waited for: the role is known from here on, and nobody else has the password.
    password.tell(&args.name)?;
    settled(&client, &args.name)
}

fn rotate(args: &PasswordArgs) -> anyhow::Result<ExitCode> {
    let (client, password) = (args.node.client(), Password::of(args)?);
    let verifier = scram_verifier(&password.text);
    client.rotate_app_role(&args.name, &AppRoleRequest { verifier })?;
    // As above: what comes next may fail, and the old password is over.
    password.tell(&args.name)?;
    settled(&client, &args.name)
}

fn remove(args: &RemoveArgs) -> anyhow::Result<ExitCode> {
    let client = args.node.client();
    client.remove_app_role(&args.name)?;
    settled(&client, &args.name)
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let roles = args.ask.node.client().app_roles()?;
    match args.ask.output {
        Format::Json => print_json(&roles)?,
        Format::Table => print(&describe(&roles))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what has become of the role on the node's own server.
fn settled(client: &Client, name: &str) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    loop {
        let all = client.app_roles()?;
        let role = all.iter().find(|role| role.name == name);
        let state = role.map_or(AppRoleState::Waiting, |role| role.state);
        match state {
            AppRoleState::Here => complain("the role is in place here; other nodes follow"),
            AppRoleState::Removed => complain("the role is removed here; other nodes follow"),
            AppRoleState::Refused => {
                let reason = role.and_then(|role| role.reason.as_deref());
                bail!("{}", harmless(reason.unwrap_or_default()));
            }
            // No failure: the change is known, and the server gets it once it can.
            AppRoleState::Waiting | AppRoleState::Removing if began.elapsed() >= SETTLE_MAX => {
                complain(
                    "the node's own server has not taken it yet; see `starling app-role list`",
                );
            }
            AppRoleState::Waiting | AppRoleState::Removing => {
                std::thread::sleep(SETTLE_PAUSE);
                continue;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
}

fn describe(roles: &[AppRole]) -> String {
    let mut table = Table::new(&["name", "here", "changed by", "reason"]);
    for role in roles {
        let (text, tone) = match role.state {
            AppRoleState::Here => ("in place", Tone::Good),
            AppRoleState::Waiting => ("waiting", Tone::Warning),
            AppRoleState::Refused => ("refused", Tone::Bad),
            AppRoleState::Removing => ("being removed", Tone::Warning),
            AppRoleState::Removed => ("removed", Tone::Good),
        };
        table.row([
            role.name.as_str().into(),
            Cell::new(text, tone),
            short(&role.changed_by).into(),
            role.reason.as_deref().unwrap_or_default().into(),
        ]);
    }
    table.for_stdout()
}

struct Password {
    text: String,
    is_made: bool,
}

impl Password {
    fn of(args: &PasswordArgs) -> anyhow::Result<Self> {
        let Some(file) = &args.password_file else {
            let words = (0..PASSWORD_WORDS).map(|_| format!("{:016x}", rand::random::<u64>()));
            return Ok(Self {
                text: words.collect(),
                is_made: true,
            });
        };
        let cannot = || format!("cannot read {}", file.display());
        let text = if file == Path::new("-") {
            first_line(io::stdin())
        } else {
            File::open(file).and_then(first_line)
        };
        Ok(Self {
            text: text.with_context(cannot)?,
            is_made: false,
        })
    }

    fn tell(&self, role: &str) -> anyhow::Result<()> {
        if !self.is_made {
            return Ok(());
        }
        complain(&format!(
            "the password of {role}, which is shown nowhere else:"
        ));
        // Alone on standard output, for a script to take.
        print(&self.text)
    }
}

/// The password in the first line. A longer one is refused: of a part of it nobody would know.
fn first_line(from: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    // And the end of the line, of one letter or two.
    from.take(PASSWORD_BYTES_MAX + 2).read_to_end(&mut bytes)?;
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(io::Error::other(
            "the first line is empty: it has to be the password",
        ));
    }
    if line.len() as u64 > PASSWORD_BYTES_MAX {
        return Err(io::Error::other(format!(
            "the password in the first line is longer than {PASSWORD_BYTES_MAX} bytes"
        )));
    }
    String::from_utf8(line.to_vec()).map_err(|_| io::Error::other("the password is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::{PASSWORD_BYTES_MAX, first_line};

    #[test]
    fn a_password_is_the_first_line_whole_or_not_at_all() {
        let longest = "p".repeat(usize::try_from(PASSWORD_BYTES_MAX).unwrap());
        let read = |text: &str| first_line(text.as_bytes()).map_err(|error| error.to_string());
        for end in ["", "\n", "\r\n", "\nof no matter, however long it is"] {
            assert_eq!(read(&format!("{longest}{end}")), Ok(longest.clone()));
            let error = read(&format!("{longest}p{end}")).unwrap_err();
            assert!(error.contains("longer than 1024"), "{error}");
        }
        // Cut in the middle of a letter, what follows would be no text.
        assert_eq!(read(&format!("p\n{}", "ü".repeat(2000))).unwrap(), "p");
        assert!(read("\nsecond").unwrap_err().contains("empty"));
    }
}
