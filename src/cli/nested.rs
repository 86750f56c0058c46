//! `starling nested`

use std::process::ExitCode;

use crate::{store::nested_query, terminal::output::print};

const EXAMPLES: &str = "\
Examples:
  starling nested MapAwLww SetAw          a map whose values are ids of sets
  starling nested --name carts MapAwLww List Counter | psql \"$STORE\"
                                          make a view of it in a store
  starling nested SetAw                   one level: sets as JSON arrays

Views: RegisterMvr RegisterLww, SetAw SetRw SetLww, MapAwMvr MapAwLww MapRwMvr MapRwLww
MapLww, List, and Counter at the end. Upper and lower case are the same. The names tell what
happens to concurrent writes: docs/interface.md. In a store, the functions nested_query and
nested_view give the same text.";

/// Print the SQL that reads nested structures as JSON
///
/// Structures are nested by storing the id of one as a value of another. Each view names how a
/// level is read, outermost first. The result has two columns, id and data (jsonb). No node and
/// no database is needed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print a statement that makes a view of this name, rather than the query alone
    #[arg(long, value_name = "VIEW")]
    name: Option<String>,
    /// How each level is read, outermost first
    #[arg(required = true, value_name = "VIEW")]
    chain: Vec<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let query = nested_query(&args.chain)?;
    let statement = match &args.name {
        Some(name) => format!("create or replace view {} as {query};", identifier(name)),
        None => query,
    };
    print(&statement)?;
    Ok(ExitCode::SUCCESS)
}

/// A name as SQL reads it back unchanged.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::identifier;

    #[test]
    fn a_name_is_quoted_whatever_it_holds() {
        assert_eq!(identifier("carts"), "\"carts\"");
        assert_eq!(identifier("a\"; drop"), "\"a\"\"; drop\"");
    }
}
