//! Servers of the user's that speak TLS: what the URL asks for is what libpq makes of it, every trouble
//! has its cause and its cure, and links go through.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use starling::postgres::{
    self, Conninfo, Error, TlsTrouble, attach,
    doctor::{self, Requirements},
};

use crate::{
    foreign::Foreign,
    harness::process::{DEBUG_LOG, Node, SHORT_GRACE, eventually, folder, start},
    restore::{increment, same},
};

const DAY: Duration = Duration::from_secs(86_400);

/// Who comes from where, with TLS only.
const TLS_ONLY: &str = "\
local   all postgres trust
hostssl all postgres 127.0.0.1/32 trust
hostssl all all      127.0.0.1/32 scram-sha-256
";

/// With TLS or without.
const EITHER: &str = "\
local all all trust
host  all all 127.0.0.1/32 trust
";

const IS_ENCRYPTED: &str = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";

/// A certificate and its key.
struct Signed {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn parameters(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    CertificateParams::new(names).unwrap()
}

fn authority(name: &str) -> Signed {
    let mut wanted = parameters(&[]);
    wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wanted.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = wanted.self_signed(&key).unwrap();
    Signed { certificate, key }
}

impl Signed {
    fn signs(&self, wanted: CertificateParams) -> Signed {
        let key = KeyPair::generate().unwrap();
        let certificate = wanted
            .signed_by(&key, &self.certificate, &self.key)
            .unwrap();
        Signed { certificate, key }
    }

    fn write(&self, path: &Path) -> PathBuf {
        fs::write(path, self.certificate.pem()).unwrap();
        path.to_owned()
    }
}

impl Foreign {
    /// Gives the server a certificate, and lets clients in as `access` says.
    fn secure(&self, signed: &Signed, access: &str) {
        for (name, text) in [
            ("server.crt", signed.certificate.pem()),
            ("server.key", signed.key.serialize_pem()),
            ("pg_hba.conf", access.to_owned()),
        ] {
            // The file is the server's, or a new one that is made so.
            let path = self.data.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            if nix::unistd::Uid::effective().is_root() {
                let user = nix::unistd::User::from_name("postgres").unwrap().unwrap();
                nix::unistd::chown(&path, Some(user.uid), Some(user.gid)).unwrap();
            }
        }
        let socket = self.root.to_str().unwrap();
        let port = self.port.to_string();
        let own = ["-X", "-q", "-h", socket, "-p", &port, "-U", "postgres"];
        for sql in ["alter system set ssl = on", "select pg_reload_conf()"] {
            self.run("psql", &[&own[..], &["-d", "shop", "-c", sql]].concat());
        }
    }

    /// Whether libpq connects, and whether it does so over TLS.
    fn libpq(&self, url: &str) -> Result<bool, String> {
        let output = self.try_run("psql", &["-X", "-At", "-d", url, "-c", IS_ENCRYPTED]);
        match output.status.success() {
            true => Ok(output.stdout == b"t\n"),
            false => Err(String::from_utf8(output.stderr).unwrap()),
        }
    }

    fn to(&self, host: &str, options: &str) -> String {
        format!("postgresql://postgres@{host}:{}/shop?{options}", self.port)
    }

    fn checking(&self, mode: &str, roots: &Path) -> String {
        let options = format!("sslmode={mode}&sslrootcert={}", roots.display());
        self.to("localhost", &options)
    }

    /// The server that a reload has changed is the one that answers.
    async fn shows(&self, signed: &Signed) {
        let roots = signed.write(&self.root.join("shown.crt"));
        let url = self.to(
            "127.0.0.1",
            &format!("sslmode=verify-ca&sslrootcert={}", roots.display()),
        );
        eventually("the server shows its new certificate", async || {
            attach(&url).await.is_ok()
        })
        .await;
    }

    /// [`secure`](Self::secure), once the new rules hold.
    async fn admits(&self, signed: &Signed, access: &str) {
        self.secure(signed, access);
        eventually("the new rules hold", async || {
            let clear = attach(&self.to("127.0.0.1", "sslmode=disable")).await;
            let secret = attach(&self.to("127.0.0.1", "sslmode=require")).await;
            clear.is_ok() != access.contains("\nhostssl")
                && secret.is_ok() != access.contains("\nhostnossl")
        })
        .await;
    }
}

async fn is_encrypted(url: &str) -> Result<bool, Error> {
    let attached = attach(url).await?;
    let client = postgres::open(&attached.connection).await.unwrap();
    Ok(client.query_one(IS_ENCRYPTED, &[]).await.unwrap().get(0))
}

/// Whoever connects and whoever examines is told the same.
async fn expect(url: &str, words: &str) {
    let text = attach(url).await.unwrap_err().to_string();
    assert!(text.contains(words), "{words}: {text}");
    let conninfo: Conninfo = url.parse().unwrap();
    let findings = doctor::inspect(&conninfo, Requirements::default()).await;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].code, "SP000");
    assert!(findings[0].text().contains(words), "{findings:?}");
}

fn trouble(error: Error) -> TlsTrouble {
    match error {
        Error::Tls { trouble, .. } => trouble,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn each_mode_connects_exactly_where_libpq_does() {
    let root = folder();
    let server = Foreign::start(root.path()).await;
    let (ours, others) = (authority("ours"), authority("others"));
    let file =
        |signed: &Signed, name: &str| signed.write(&root.path().join(name)).display().to_string();
    let (known, unknown) = (file(&ours, "known.crt"), file(&others, "unknown.crt"));
    let for_localhost = ours.signs(parameters(&["localhost"]));
    let for_itself = {
        let mut wanted = parameters(&["localhost"]);
        wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = wanted.self_signed(&key).unwrap();
        Signed { certificate, key }
    };
    let itself = file(&for_itself, "itself.crt");
    let urls: Vec<String> = ["localhost", "127.0.0.1"]
        .into_iter()
        .flat_map(|host| {
            let roots = ["", &known, &unknown, &itself];
            roots.into_iter().flat_map(move |roots| {
                let modes = ["disable", "prefer", "require", "verify-ca", "verify-full"];
                modes
                    .into_iter()
                    .map(move |mode| (host, mode, roots.to_owned()))
            })
        })
        // What is to be checked against nothing is refused by both, before anything is sent.
        .filter(|(_, mode, roots)| !(mode.starts_with("verify") && roots.is_empty()))
        .map(|(host, mode, roots)| match roots.as_str() {
            "" => server.to(host, &format!("sslmode={mode}")),
            roots => server.to(host, &format!("sslmode={mode}&sslrootcert={roots}")),
        })
        .collect();
    let clear_only = "local all all trust\nhostnossl all all 127.0.0.1/32 trust\n";
    for (signed, access) in [
        (&for_localhost, TLS_ONLY),
        (&for_itself, EITHER),
        (&for_localhost, clear_only),
    ] {
        server.secure(signed, EITHER);
        server.shows(signed).await;
        server.admits(signed, access).await;
        for url in &urls {
            let (us, libpq) = (is_encrypted(url).await.map_err(drop), server.libpq(url));
            assert_eq!(us, libpq.clone().map_err(drop), "{access}{url}: {libpq:?}");
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_and_one_that_insists_on_it_are_told_apart() {
    let root = folder();
    let server = Foreign::start(root.path()).await;
    let error = attach(&server.to("127.0.0.1", "sslmode=require"))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("has no TLS") && text.contains("ssl_cert_file"),
        "{text}"
    );
    assert_eq!(trouble(error), TlsTrouble::Missing);
    assert!(
        !is_encrypted(&server.to("127.0.0.1", "sslmode=prefer"))
            .await
            .unwrap()
    );

    let signed = authority("ours").signs(parameters(&["localhost"]));
    server.secure(&signed, TLS_ONLY);
    server.shows(&signed).await;
    let error = attach(&server.to("127.0.0.1", "sslmode=disable"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TlsNeeded { .. }), "{error}");
    assert!(error.to_string().contains("leave sslmode out"), "{error}");
    assert!(is_encrypted(&server.to("127.0.0.1", "")).await.unwrap());
}

#[tokio::test]
async fn roots_that_do_not_fit_are_named_by_attach_and_doctor() {
    let root = folder();
    let server = Foreign::start(root.path()).await;
    let ours = authority("ours");
    let roots = ours.write(&root.path().join("roots.crt"));
    let full = server.checking("verify-full", &roots);
    let good = ours.signs(parameters(&["localhost"]));
    server.secure(&good, TLS_ONLY);
    server.shows(&good).await;
    let in_order = attach(&full).await;
    assert!(in_order.is_ok(), "{in_order:?}");

    let file = |name: &str| root.path().join(name);
    let (nowhere, empty, broken) = (file("nowhere.crt"), file("empty.crt"), file("broken.crt"));
    fs::write(&empty, good.certificate.der()).unwrap();
    fs::write(&broken, good.certificate.pem().replace("MII", "AAA")).unwrap();
    // Also where clear text would do: whoever names a file means it.
    for access in [TLS_ONLY, EITHER] {
        server.admits(&good, access).await;
        for mode in ["prefer", "require", "verify-ca"] {
            for (roots, words) in [
                (&nowhere, "which cannot be read"),
                (&empty, "no certificate in PEM form"),
                (&broken, "no certificate in PEM form"),
            ] {
                let url = server.checking(mode, roots);
                expect(&url, words).await;
                let trouble = trouble(attach(&url).await.unwrap_err());
                assert!(matches!(trouble, TlsTrouble::Roots(_)), "{trouble:?}");
            }
        }
    }
    let stranger = authority("others").write(&file("stranger.crt"));
    expect(
        &server.checking("verify-ca", &stranger),
        "is signed by none of those",
    )
    .await;
    expect(
        &server.to("localhost", "sslrootcert=system"),
        "is signed by none of those",
    )
    .await;
}

#[tokio::test]
async fn a_certificate_of_another_time_or_host_is_named_by_attach_and_doctor() {
    let root = folder();
    let server = Foreign::start(root.path()).await;
    let ours = authority("ours");
    let roots = ours.write(&root.path().join("roots.crt"));
    let full = server.checking("verify-full", &roots);
    let dated = |from: SystemTime, to: SystemTime| {
        let mut wanted = parameters(&["localhost"]);
        (wanted.not_before, wanted.not_after) = (from.into(), to.into());
        wanted
    };
    let now = SystemTime::now();
    let other = |names: &[&str]| ours.signs(parameters(names));
    for (signed, words) in [
        (
            ours.signs(dated(now - DAY * 9, now - DAY * 3)),
            "has expired 3 days ago",
        ),
        (
            ours.signs(dated(now + DAY * 3, now + DAY * 9)),
            "is valid only in 2 days from now",
        ),
        (
            other(&["db.example.org"]),
            "is not made for localhost, but for DnsName(\"db.example.org\")",
        ),
        (other(&[]), "the common name alone does not count"),
    ] {
        server.secure(&signed, TLS_ONLY);
        eventually(words, async || {
            attach(&full)
                .await
                .is_err_and(|error| error.to_string().contains(words))
        })
        .await;
        expect(&full, words).await;
        assert!(
            is_encrypted(&server.to("localhost", "sslmode=require"))
                .await
                .unwrap()
        );
    }
    // Its own certificate is one of the roots: that does not make it last for ever.
    let mut wanted = dated(now - DAY * 9, now - DAY * 3);
    wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = wanted.self_signed(&key).unwrap();
    let signed = Signed { certificate, key };
    server.secure(&signed, TLS_ONLY);
    let own = server.checking("verify-ca", &signed.write(&root.path().join("own.crt")));
    eventually("the server shows it", async || {
        attach(&own)
            .await
            .is_err_and(|error| error.to_string().contains("has expired"))
    })
    .await;
}

/// A password's exchange is bound to the connection, so that nobody in between can pass it on.
#[tokio::test]
async fn passwords_are_bound_to_the_connection() {
    let root = folder();
    let server = Foreign::start(root.path()).await;
    let signed = authority("ours").signs(parameters(&["localhost"]));
    // The server itself would take the password in clear text as well.
    let access = format!("{TLS_ONLY}host all app 127.0.0.1/32 scram-sha-256\n");
    server.secure(&signed, &access);
    server.shows(&signed).await;
    let admin: Conninfo = server.to("localhost", "").parse().unwrap();
    let admin = postgres::connect(&admin).await.unwrap();
    admin
        .batch_execute("create role app login superuser password 'geheim'")
        .await
        .unwrap();
    let url = |mode: &str, binding: &str| {
        let options = format!("sslmode={mode}&channel_binding={binding}");
        let url = server.to("localhost", &options);
        url.replace("postgres@", "app:geheim@")
    };
    assert!(is_encrypted(&url("require", "require")).await.unwrap());
    assert!(!is_encrypted(&url("disable", "prefer")).await.unwrap());
    let clear = attach(&url("disable", "require")).await;
    let text = clear.expect_err("nothing to bind it to").to_string();
    assert!(
        text.contains("server did not use channel binding"),
        "{text}"
    );
}

/// Each end of a link goes its own way to the other: controllers with their driver, servers with libpq.
#[tokio::test]
async fn links_connect_servers_that_insist_on_tls_with_each_other_and_with_others() {
    let root = folder();
    let ours = authority("ours");
    let roots = ours.write(&root.path().join("roots.crt"));
    let plain = start(root.path(), "plain", &[]);
    let mut nodes = vec![plain];
    let mut servers = Vec::new();
    for (name, options) in [
        ("first", "sslmode=require".to_owned()),
        (
            "second",
            format!("sslmode=verify-full&sslrootcert={}", roots.display()),
        ),
    ] {
        let folder = root.path().join(name);
        fs::create_dir(&folder).unwrap();
        let server = Foreign::start(&folder).await;
        let signed = ours.signs(parameters(&["localhost"]));
        server.secure(&signed, TLS_ONLY);
        server.shows(&signed).await;
        let (contact, url) = (nodes[0].bootstrap(), server.to("localhost", &options));
        let own = ["--name", name, "--bootstrap", &contact, "--postgres", &url];
        nodes.push(Node::start(
            &folder.join("node"),
            &[&own[..], SHORT_GRACE, DEBUG_LOG].concat(),
        ));
        servers.push(server);
    }
    for (node, by) in nodes.iter().zip([1, 10, 100]) {
        increment(node, by).await;
    }
    same(&nodes.iter().collect::<Vec<_>>(), 111).await;
    for node in &nodes[1..] {
        let client = node.client().await;
        let count = async |sql: &str| -> i64 { client.query_one(sql, &[]).await.unwrap().get(0) };
        eventually("both others stream, each over TLS", async || {
            let senders = "select count(*) from pg_stat_replication join pg_stat_ssl s using (pid)
                where s.ssl";
            count(senders).await == 2
        })
        .await;
        let clear = "select count(*) from pg_stat_ssl s join pg_stat_activity a using (pid)
                      where a.client_addr is not null and not s.ssl";
        assert_eq!(count(clear).await, 0);
    }
    // Without a link, repeated catch-ups would bring its rows as well.
    let client = nodes[0].client().await;
    eventually("both stream from the server without TLS", async || {
        let senders = "select count(*) from pg_stat_replication join pg_stat_ssl s using (pid)
            where state = 'streaming' and not s.ssl";
        let row = client.query_one(senders, &[]).await.unwrap();
        row.get::<_, i64>(0) == 2
    })
    .await;
}
