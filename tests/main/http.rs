//! The HTTP API over a real socket, fed by real channels.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use prometheus_client::metrics::counter::Counter;
use starling::{
    api::{
        ClockStanding, ClockStatus, Direction, Dissemination, LeaveReport, LeaveRequest, LinkState,
        LinkStatus, MembersStatus, NeighborStatus, NodeInfo, NodeState, NodeStatus, OverlayStatus,
        Presence, Problem, Side, Status, StoreRequirements, StoreStatus, Topology, TopologyNode,
        TreeStatus,
    },
    http::{
        self, Client, ClientError, Command, CommandError, Settings, StatusCollector, Token, View,
    },
    identity::{NodeId, Site},
    telemetry,
    vector::{Seq, Vector},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

const PEER: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

/// A served API, and the other ends of its channels.
struct Fixture {
    address: String,
    status: watch::Sender<Status>,
    commands: mpsc::Receiver<Command>,
    shutdown: CancellationToken,
    data_dir: tempfile::TempDir,
    token: String,
    server: JoinHandle<std::io::Result<()>>,
}

/// An answer, taken apart.
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn problem(&self) -> Problem {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem: Problem = self.json();
        assert_eq!(problem.status, self.status);
        problem
    }
}

impl Fixture {
    async fn start() -> Self {
        let (status, status_seen) = watch::channel(ready());
        let (_, nodes) = watch::channel(vec![node(true), node(false)]);
        let topology = Topology {
            nodes: vec![TopologyNode {
                peer_id: PEER.to_owned(),
                name: "alpha".to_owned(),
                alive: true,
                presence: Presence::Here,
            }],
            edges: Vec::new(),
        };
        let (_, topology) = watch::channel(topology);
        let mut registry = telemetry::registry("flock", "al\"pha");
        let counter: Counter = Counter::default();
        counter.inc_by(3);
        registry.register("shuffles", "Shuffles started", counter);
        let collector = StatusCollector::new(status_seen.clone(), nodes.clone());
        registry.register_collector(Box::new(collector));
        // Room for one, so that a full queue is easily had.
        let (sender, commands) = mpsc::channel(1);
        let view = View {
            status: status_seen,
            nodes,
            topology,
            metrics: Arc::new(registry),
            commands: sender,
        };
        let listener = http::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let data_dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            hosts: vec!["node-1".to_owned()],
            token: Token::open(data_dir.path()).unwrap(),
        };
        let token = std::fs::read_to_string(settings.token.path()).unwrap();
        let server = tokio::spawn(http::serve(listener, view, settings, shutdown.clone()));
        Self {
            address,
            status,
            commands,
            shutdown,
            data_dir,
            token: format!("Bearer {token}"),
            server,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[("host", &self.address)]).await
    }

    async fn post(&self, path: &str) -> Answer {
        self.ask(
            "POST",
            path,
            &[
                ("host", &self.address),
                ("authorization", &self.token),
                ("content-length", "0"),
            ],
        )
        .await
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream
            .write_all(format!("{request}\r\n").as_bytes())
            .await
            .unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        parse(&String::from_utf8(bytes).unwrap())
    }
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Answer {
        status,
        headers,
        body: body.to_owned(),
    }
}

fn link(state: LinkState, lag_seconds: Option<f64>) -> LinkStatus {
    LinkStatus {
        peer_id: PEER.to_owned(),
        site: 7,
        direction: Direction::In,
        state,
        since: "2026-01-01T00:00:00Z".to_owned(),
        reason: None,
        fix: None,
        side: None,
        overdue: false,
        lag_bytes: Some(1024),
        lag_seconds,
        slot: "starling_0000000000000007_0000000000000001".to_owned(),
    }
}

fn ready() -> Status {
    Status {
        node: NodeStatus {
            peer_id: PEER.to_owned(),
            site: 42,
            name: "alpha".to_owned(),
            cluster: "flock".to_owned(),
            version: "0.1.0".to_owned(),
            state: NodeState::Ready,
            listen: vec!["/ip4/127.0.0.1/tcp/7400".to_owned()],
            has_twin: false,
            twin_at: String::new(),
            waits_for: None,
        },
        store: StoreStatus {
            is_private: true,
            url: "postgresql://starling@/starling".to_owned(),
            version: "15.20".to_owned(),
            ready: true,
            unconfirmed: false,
            off_path: None,
            renewals: Vec::new(),
            requirements: Some(StoreRequirements {
                links_min: 5,
                slot_bytes_max: 1 << 30,
            }),
        },
        clock: ClockStatus {
            standing: ClockStanding::Fair,
            ahead_ms: Some(1.25),
            error_ms: Some(0.75),
            neighbors: 1,
            max_ahead_ms: 10_000.0,
        },
        overlay: OverlayStatus {
            active: vec![NeighborStatus {
                peer_id: PEER.to_owned(),
                name: "beta".to_owned(),
                addresses: Vec::new(),
                since: "2026-01-01T00:00:00Z".to_owned(),
                rtt_ms: Some(1.5),
                clock_offset_ms: Some(-2.5),
                clock_error_ms: Some(0.75),
            }],
            passive: 4,
            remembered: 5,
            bootstrap: Vec::new(),
            is_open: false,
        },
        members: MembersStatus::default(),
        links: vec![link(LinkState::Streaming, Some(0.25))],
        vector: Vector::from_iter([(Site::new(42).unwrap(), Seq::new(17))]),
        tree: Some(TreeStatus {
            mode: Dissemination::Tree,
            root: Some(PEER.to_owned()),
            parent: Some(PEER.to_owned()),
            is_root: false,
        }),
        findings: Vec::new(),
        warnings: Vec::new(),
    }
}

fn node(alive: bool) -> NodeInfo {
    NodeInfo {
        peer_id: PEER.to_owned(),
        name: "alpha".to_owned(),
        state: alive.then_some(NodeState::Ready),
        site: 42,
        store: "127.0.0.1:7432".to_owned(),
        vector: Vector::default(),
        neighbors: Vec::new(),
        last_seen: "2026-01-01T00:00:00Z".to_owned(),
        alive,
        presence: if alive {
            Presence::Here
        } else {
            Presence::Left
        },
    }
}

#[tokio::test]
async fn what_the_node_knows_is_served_and_follows_the_channels() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.get("/v1/status").await.json::<Status>(), ready());
    assert_eq!(
        fixture.get("/v1/nodes").await.json::<Vec<NodeInfo>>().len(),
        2
    );
    // Readers that take numbers for doubles would change them.
    let status = fixture.get("/v1/status").await.json::<serde_json::Value>();
    for number in [
        &status["node"]["site"],
        &status["links"][0]["site"],
        &status["vector"]["42"],
    ] {
        assert!(number.is_string(), "{number} in {status}");
    }
    let nodes = fixture.get("/v1/nodes").await.json::<serde_json::Value>();
    assert!(nodes[0]["site"].is_string(), "{nodes}");
    assert_eq!(
        fixture
            .get("/v1/topology")
            .await
            .json::<Topology>()
            .nodes
            .len(),
        1
    );
    fixture
        .status
        .send_modify(|status| status.node.state = NodeState::Leaving);
    let status: Status = fixture.get("/v1/status").await.json();
    assert_eq!(status.node.state, NodeState::Leaving);
}

#[tokio::test]
async fn the_tree_is_in_the_status_and_a_version_without_it_is_read() {
    let fixture = Fixture::start().await;
    let mut status = fixture.get("/v1/status").await.json::<serde_json::Value>();
    let expected =
        serde_json::json!({"mode": "tree", "root": PEER, "parent": PEER, "is_root": false});
    assert_eq!(status["tree"], expected);
    status.as_object_mut().unwrap().remove("tree");
    let earlier: Status = serde_json::from_value(status).unwrap();
    assert_eq!(
        earlier,
        Status {
            tree: None,
            ..ready()
        }
    );
}

#[tokio::test]
async fn health_is_the_process_and_readiness_is_the_node() {
    let fixture = Fixture::start().await;
    let unready = [
        (NodeState::Starting, "not up yet"),
        (NodeState::Joining, "catching up"),
        (NodeState::Degraded, "store is down"),
        (NodeState::Leaving, "leaving"),
    ];
    for (state, reason) in unready {
        fixture
            .status
            .send_modify(|status| status.node.state = state);
        assert_eq!(fixture.get("/healthz").await.status, 200);
        let answer = fixture.get("/readyz").await;
        assert_eq!(answer.status, 503);
        let problem = answer.problem();
        assert_eq!(problem.code, "not_ready");
        assert!(problem.detail.contains(reason), "{}", problem.detail);
    }
    fixture
        .status
        .send_modify(|status| status.node.state = NodeState::Ready);
    assert_eq!(fixture.get("/readyz").await.status, 200);
    fixture
        .status
        .send_modify(|status| status.store.ready = false);
    assert_eq!(fixture.get("/readyz").await.status, 503);
}

#[tokio::test]
async fn readiness_takes_a_bound_on_the_lag() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.get("/readyz?lag=0.3").await.status, 200);
    let lagging = fixture.get("/readyz?lag=0.2").await;
    assert_eq!(lagging.status, 503);
    assert!(lagging.problem().detail.contains("lags by 0.250 s"));
    fixture
        .status
        .send_modify(|status| status.links.push(link(LinkState::CatchingUp, None)));
    assert_eq!(fixture.get("/readyz").await.status, 200);
    assert_eq!(fixture.get("/readyz?lag=99").await.status, 503);
    let unfit = LinkStatus {
        state: LinkState::Refused,
        side: Some(Side::Peer),
        overdue: true,
        ..link(LinkState::Refused, None)
    };
    fixture.status.send_modify(|status| {
        status.links.pop();
        status.links.push(unfit.clone());
    });
    assert_eq!(
        fixture.get("/readyz?lag=1").await.status,
        200,
        "the peer is unfit, not we"
    );
    fixture
        .status
        .send_modify(|status| status.links[1].side = Some(Side::Here));
    assert_eq!(fixture.get("/readyz?lag=1").await.status, 503);
    fixture.status.send_modify(|status| status.links.clear());
    assert_eq!(
        fixture.get("/readyz?lag=0").await.status,
        200,
        "alone, nobody is ahead"
    );
    for bad in ["lag=soon", "lag=-1", "lag=NaN", "lag=inf", "log=1", "lag="] {
        let answer = fixture.get(&format!("/readyz?{bad}")).await;
        assert_eq!(
            (answer.status, answer.problem().code.as_str()),
            (400, "bad_query"),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn a_node_that_cuts_itself_off_is_not_ready_and_one_that_is_cut_off_is() {
    let fixture = Fixture::start().await;
    let out = |side| LinkStatus {
        direction: Direction::Out,
        reason: Some("all replication slots are in use".to_owned()),
        side,
        overdue: true,
        ..link(LinkState::Refused, None)
    };
    let set = |links: Vec<LinkStatus>| {
        let links = [vec![link(LinkState::Streaming, Some(0.0))], links].concat();
        fixture.status.send_modify(|status| status.links = links);
    };
    set(vec![out(Some(Side::Here))]);
    let answer = fixture.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .problem()
            .detail
            .contains("all replication slots are in use")
    );
    for side in [Some(Side::Peer), None] {
        set(vec![out(side)]);
        assert_eq!(fixture.get("/readyz").await.status, 200, "{side:?}");
    }
    let flowing = LinkStatus {
        direction: Direction::Out,
        ..link(LinkState::Streaming, Some(0.0))
    };
    set(vec![out(Some(Side::Here)), flowing]);
    assert_eq!(
        fixture.get("/readyz").await.status,
        200,
        "it reaches somebody"
    );
}

#[tokio::test]
async fn a_scraper_of_the_older_format_gets_it_and_others_the_newer_one() {
    let fixture = Fixture::start().await;
    for (accept, kind) in [
        ("text/plain", "text/plain; version=0.0.4"),
        (
            "text/plain;version=0.0.4;q=0.3",
            "text/plain; version=0.0.4",
        ),
        ("*/*", "application/openmetrics-text"),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.3",
            "application/openmetrics-text",
        ),
    ] {
        let headers = [("host", fixture.address.as_str()), ("accept", accept)];
        let answer = fixture.ask("GET", "/metrics", &headers).await;
        assert!(answer.headers["content-type"].starts_with(kind), "{accept}");
        let is_classic = kind.starts_with("text/plain");
        assert_eq!(answer.body.ends_with("# EOF\n"), !is_classic);
        let counter = "# TYPE starling_shuffles_total counter\n";
        assert_eq!(answer.body.contains(counter), is_classic, "{}", answer.body);
        assert_eq!(answer.body.contains(" info\n"), !is_classic);
    }
}

#[tokio::test]
async fn two_links_of_one_peer_are_one_sample() {
    let fixture = Fixture::start().await;
    let second = LinkStatus {
        lag_bytes: Some(4096),
        ..link(LinkState::Down, Some(7.5))
    };
    fixture
        .status
        .send_modify(|status| status.links.push(second));
    let body = fixture.get("/metrics").await.body;
    for (name, value) in [("bytes", "4096"), ("seconds", "7.5")] {
        let name = format!("starling_link_lag_{name}{{");
        let samples: Vec<&str> = body.lines().filter(|l| l.starts_with(&name)).collect();
        assert_eq!(samples.len(), 1, "{samples:?}");
        assert!(samples[0].ends_with(value), "{samples:?}");
    }
    for line in [
        r#"direction="in",state="down"} 1"#,
        r#"direction="out",state="refused"} 0"#,
    ] {
        assert!(
            body.lines()
                .any(|l| l.starts_with("starling_links{") && l.ends_with(line))
        );
    }
}

#[tokio::test]
async fn metrics_carry_the_node_in_every_line_and_the_names_of_the_contract() {
    let fixture = Fixture::start().await;
    let answer = fixture.get("/metrics").await;
    assert!(answer.headers["content-type"].starts_with("application/openmetrics-text"));
    let node = r#"cluster="flock",node="al\"pha""#;
    for line in [
        format!("starling_up{{{node}}} 1"),
        format!("starling_store_ready{{{node}}} 1"),
        format!("starling_active_view_size{{{node}}} 1"),
        format!("starling_passive_view_size{{{node}}} 4"),
        format!("starling_node_state{{{node},state=\"ready\"}} 1"),
        format!("starling_node_state{{{node},state=\"degraded\"}} 0"),
        format!("starling_members{{{node},state=\"alive\"}} 1"),
        format!("starling_members{{{node},state=\"gone\"}} 1"),
        format!("starling_links{{{node},direction=\"in\",state=\"streaming\"}} 1"),
        format!("starling_link_lag_bytes{{{node},peer=\"{PEER}\",direction=\"in\"}} 1024"),
        format!("starling_link_lag_seconds{{{node},peer=\"{PEER}\",direction=\"in\"}} 0.25"),
        format!("starling_neighbor_round_trip_seconds{{{node},peer=\"{PEER}\"}} 0.0015"),
        format!("starling_checkpoint{{{node},site=\"42\"}} 17"),
        format!("starling_shuffles_total{{{node}}} 3"),
    ] {
        assert!(
            answer.body.lines().any(|l| l == line),
            "{line} is missing in\n{}",
            answer.body
        );
    }
    for line in answer.body.lines().filter(|line| !line.starts_with('#')) {
        assert!(
            line.starts_with("starling_") && line.contains(node),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_wrong_path_or_method_is_a_problem_document() {
    let fixture = Fixture::start().await;
    let answer = fixture.get("/v2/status").await;
    assert_eq!(
        (answer.status, answer.problem().code.as_str()),
        (404, "not_found")
    );
    let answer = fixture.post("/v1/status").await;
    assert_eq!(
        (answer.status, answer.problem().code.as_str()),
        (405, "method_not_allowed")
    );
    assert!(answer.headers["allow"].contains("GET"));
    let answer = fixture.get("/v1/leave").await;
    assert_eq!(
        (answer.status, answer.problem().code.as_str()),
        (405, "method_not_allowed")
    );
}

#[tokio::test]
async fn commands_are_carried_out_and_their_failures_told() {
    let mut fixture = Fixture::start().await;
    let mut commands = std::mem::replace(&mut fixture.commands, mpsc::channel(1).1);
    let node = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(command) = commands.recv().await {
            match command {
                Command::Leave { request, reply } if !request.abandon => {
                    let refused = CommandError::NotHandedOver("nobody listens".to_owned());
                    reply.send(Err(refused)).unwrap();
                }
                Command::Leave { request, reply } => {
                    assert_eq!(request.timeout_seconds, Some(2.5));
                    let report = LeaveReport {
                        left: true,
                        ended_sessions: 3,
                        ..LeaveReport::default()
                    };
                    reply.send(Ok(report)).unwrap();
                }
                Command::Evict { peer, reply } if seen.is_empty() => {
                    seen.push(peer);
                    reply.send(Ok(())).unwrap();
                }
                Command::Evict { peer, reply } => {
                    reply.send(Err(CommandError::UnknownPeer(peer))).unwrap();
                }
                other => panic!("nobody asked for {other:?}"),
            }
        }
        seen
    });
    let evict = format!("/v1/evict/{PEER}");
    assert_eq!(fixture.post(&evict).await.status, 200);
    let unknown = fixture.post(&evict).await;
    assert_eq!(
        (unknown.status, unknown.problem().code.as_str()),
        (404, "unknown_peer")
    );
    let nonsense = fixture.post("/v1/evict/no-peer").await;
    assert_eq!(
        (nonsense.status, nonsense.problem().code.as_str()),
        (400, "bad_peer")
    );
    let refused = fixture.post("/v1/leave").await;
    assert_eq!(
        (refused.status, refused.problem().code.as_str()),
        (409, "not_handed_over")
    );
    let client = Client::new(&fixture.address);
    let request = LeaveRequest {
        timeout_seconds: Some(2.5),
        abandon: true,
    };
    let left = tokio::task::spawn_blocking(move || client.leave(&request));
    assert_eq!(left.await.unwrap().unwrap().ended_sessions, 3);
    fixture.shutdown.cancel();
    fixture.server.await.unwrap().unwrap();
    assert_eq!(node.await.unwrap(), [PEER.parse::<NodeId>().unwrap()]);
}

#[tokio::test]
async fn a_node_that_is_busy_or_stopping_says_so_at_once() {
    let mut fixture = Fixture::start().await;
    // The first one waits in the queue, which is full with it.
    let mut waiting = TcpStream::connect(&fixture.address).await.unwrap();
    let request = format!(
        "POST /v1/leave HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\nconnection: close\r\n\r\n",
        fixture.address, fixture.token
    );
    waiting.write_all(request.as_bytes()).await.unwrap();
    while fixture.commands.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let busy = fixture.post("/v1/leave").await;
    assert_eq!((busy.status, busy.problem().code.as_str()), (503, "busy"));

    drop(fixture.commands.recv().await);
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).await.unwrap();
    assert_eq!(parse(&answer).problem().code, "stopping");
    fixture.commands.close();
    assert_eq!(fixture.post("/v1/leave").await.problem().code, "stopping");
}

#[tokio::test]
async fn who_does_not_have_the_token_cannot_command_the_node() {
    let mut fixture = Fixture::start().await;
    let own = fixture.address.clone();
    let wrong = format!("Bearer {}", "0".repeat(64));
    for headers in [
        vec![("host", own.as_str())],
        vec![("host", own.as_str()), ("authorization", wrong.as_str())],
        vec![("host", "node-1:80")],
        vec![("host", "evil.example:7480")],
    ] {
        for path in ["/v1/leave", "/v1/evict/x"] {
            let answer = fixture.ask("POST", path, &headers).await;
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            let problem = answer.problem();
            assert_eq!(
                (answer.status, problem.code.as_str()),
                (401, "token_needed")
            );
            let file = problem.token_file.unwrap();
            assert_eq!(file, fixture.data_dir.path().join("http.token"));
            assert!(problem.detail.contains(&file.display().to_string()));
        }
    }
    assert!(fixture.commands.try_recv().is_err());
}

#[tokio::test]
async fn a_web_page_that_points_its_name_at_the_node_reads_nothing() {
    let fixture = Fixture::start().await;
    for path in ["/", "/healthz", "/readyz", "/metrics", "/v1/status"] {
        let foreign = [("host", "evil.example:7480")];
        let answer = fixture.ask("GET", path, &foreign).await;
        let code = answer.problem().code;
        assert_eq!(
            (answer.status, code.as_str()),
            (403, "host_refused"),
            "{path}"
        );
        let named = fixture.ask("GET", path, &[("host", "node-1:80")]).await;
        assert_eq!(named.status, 200, "{path}");
        let known = [
            ("host", "evil.example:7480"),
            ("authorization", fixture.token.as_str()),
        ];
        assert_eq!(fixture.ask("GET", path, &known).await.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_finds_the_token_where_the_node_says_that_it_is() {
    let mut fixture = Fixture::start().await;
    let mut commands = std::mem::replace(&mut fixture.commands, mpsc::channel(1).1);
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Leave { reply, .. } => {
                    reply.send(Ok(LeaveReport::default())).unwrap();
                }
                Command::Evict { reply, .. } => reply.send(Ok(())).unwrap(),
                other => panic!("nobody asked for {other:?}"),
            }
        }
    });
    let client = Client::new(&fixture.address);
    let file = fixture.data_dir.path().join("http.token");
    let leave = |client: Client| {
        tokio::task::spawn_blocking(move || client.leave(&LeaveRequest::default()))
    };
    leave(client.clone()).await.unwrap().unwrap();
    let given = client.clone().with_token_file(Some(file.clone()));
    leave(given).await.unwrap().unwrap();

    std::fs::remove_file(&file).unwrap();
    let error = leave(client.clone()).await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ClientError::Token { path, .. } if *path == file),
        "{error}"
    );
    // Only a token goes to whoever answers, whatever file it names.
    std::fs::write(&file, "root:x:0:0:root:/root:/bin/bash").unwrap();
    let error = leave(client).await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Token { .. }), "{error}");
}

#[tokio::test]
async fn a_large_body_is_refused_unread() {
    let fixture = Fixture::start().await;
    let own = fixture.address.clone();
    let headers = [
        ("host", own.as_str()),
        ("authorization", fixture.token.as_str()),
        ("content-length", "1000000000"),
    ];
    let answer = fixture.ask("POST", "/v1/leave", &headers).await;
    assert_eq!(
        (answer.status, answer.problem().code.as_str()),
        (413, "body_too_large")
    );
}

#[tokio::test]
async fn the_dashboard_asks_nobody_else() {
    let fixture = Fixture::start().await;
    let page = fixture.get("/").await;
    assert!(page.headers["content-type"].starts_with("text/html"));
    let policy = &page.headers["content-security-policy"];
    assert!(policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"));
    assert!(
        !page.body.contains("innerHTML"),
        "foreign names must go in as text"
    );
    for line in page.body.lines().filter(|line| line.contains("http")) {
        assert!(
            line.contains("http://www.w3.org/2000/svg"),
            "a foreign address: {line}"
        );
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_way_out() {
    let fixture = Fixture::start().await;
    let error = http::bind(fixture.address.parse().unwrap())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&fixture.address) && error.contains("--http"),
        "{error}"
    );
}

#[tokio::test]
async fn shutting_down_ends_idle_connections() {
    let fixture = Fixture::start().await;
    let mut idle = TcpStream::connect(&fixture.address).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\n\r\n", fixture.address);
    idle.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    idle.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    fixture.shutdown.cancel();
    fixture.server.await.unwrap().unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(&fixture.address).await.is_err());
}
