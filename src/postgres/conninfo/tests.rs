use std::path::PathBuf;

use proptest::prelude::{prop_assert_eq, proptest};
use tokio_postgres::config::SslMode;

use super::{BadConninfo, Conninfo, Roots, Trust};

fn read(text: &str) -> Result<Conninfo, BadConninfo> {
    text.parse()
}

fn file(path: &str) -> Roots {
    Roots::File(PathBuf::from(path))
}

#[test]
fn modes_and_roots_mean_what_they_mean_to_libpq() {
    let is = |options: &str, mode: SslMode, trust: Trust| {
        let url = format!("postgresql://u@h/d?{}", options.replace(' ', "&"));
        for text in [url, format!("host=h user=u dbname=d {options}")] {
            let conninfo = read(&text).unwrap();
            assert_eq!(conninfo.get_ssl_mode(), mode, "{text}");
            assert_eq!(*conninfo.trust(), trust, "{text}");
            assert_eq!(conninfo.get_dbname(), Some("d"), "{text}");
        }
    };
    is("connect_timeout=3", SslMode::Prefer, Trust::Anybody);
    is("sslmode=disable", SslMode::Disable, Trust::Anybody);
    is(
        "sslmode=prefer sslrootcert=/r",
        SslMode::Prefer,
        Trust::Chain(file("/r")),
    );
    is("sslmode=require", SslMode::Require, Trust::Anybody);
    is(
        "sslmode=require sslrootcert=/r",
        SslMode::Require,
        Trust::Chain(file("/r")),
    );
    is(
        "sslrootcert=/r sslmode=verify-ca",
        SslMode::Require,
        Trust::Chain(file("/r")),
    );
    is(
        "sslmode=verify-full sslrootcert=/r",
        SslMode::Require,
        Trust::Name(file("/r")),
    );
    is(
        "sslrootcert=system",
        SslMode::Require,
        Trust::Name(Roots::System),
    );
    is(
        "sslmode=verify-full sslrootcert=system",
        SslMode::Require,
        Trust::Name(Roots::System),
    );
    is(
        "sslmode=disable sslmode=require",
        SslMode::Require,
        Trust::Anybody,
    );
}

#[test]
fn what_would_check_nothing_is_refused() {
    for (options, why) in [
        ("sslmode=allow", BadConninfo::Mode),
        ("sslmode=", BadConninfo::Mode),
        ("sslmode=verify-ca", BadConninfo::NoRoots("verify-ca")),
        ("sslmode=verify-full", BadConninfo::NoRoots("verify-full")),
        (
            "sslmode=verify-full&sslrootcert=",
            BadConninfo::NoRoots("verify-full"),
        ),
        ("sslmode=require&sslrootcert=system", BadConninfo::WeakMode),
        (
            "sslmode=verify-ca&sslrootcert=system",
            BadConninfo::WeakMode,
        ),
    ] {
        let error = read(&format!("postgresql://u@h/d?{options}")).unwrap_err();
        assert_eq!(error, why, "{options}");
    }
}

#[test]
fn what_stands_around_the_options_is_left_to_the_driver() {
    let text =
        "postgresql://u:p%26%3F?x@h:5/d?sslmode=verify-ca&port=7&sslrootcert=%2Fa%20b%26c@d.pem";
    let conninfo = read(text).unwrap();
    assert_eq!(conninfo.get_password(), Some(&b"p&??x"[..]));
    assert_eq!(conninfo.get_ports(), [5, 7]);
    assert_eq!(*conninfo.trust(), Trust::Chain(file("/a b&c@d.pem")));

    let text = r"host = h password = 'sslmode=x \' y' sslrootcert = '/it\'s here' user=u sslmode=verify-full";
    let conninfo = read(text).unwrap();
    assert_eq!(conninfo.get_password(), Some(&b"sslmode=x ' y"[..]));
    assert_eq!(*conninfo.trust(), Trust::Name(file("/it's here")));

    for text in [
        "geheim",
        "host=h geheim",
        "postgresql://u@h/d?geheim",
        "host=h sslcert=geheim",
    ] {
        let error = read(text).unwrap_err();
        assert!(matches!(error, BadConninfo::Syntax(_)), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn any_path_is_read_back_in_both_forms(path in "/[ -~]{0,40}") {
        let encoded: String = path.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let quoted = path.replace('\\', r"\\").replace('\'', r"\'");
        for text in [
            format!("postgresql://u@h/d?sslmode=verify-ca&sslrootcert={encoded}"),
            format!("sslrootcert='{quoted}' host=h user=u sslmode=verify-ca"),
        ] {
            let conninfo = read(&text).unwrap();
            prop_assert_eq!(conninfo.trust(), &Trust::Chain(file(&path)));
        }
    }
}
