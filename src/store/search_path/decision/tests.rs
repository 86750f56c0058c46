use super::{Found, PathStanding, Record, SearchPath, Step, UNRECORDED, decide};

const SERVER: &str = "\"$user\", public";

fn found() -> Found {
    Found {
        server: Some(SERVER.to_owned()),
        is_owner: true,
        ..Found::default()
    }
}

fn set(former: Option<&str>, value: &str) -> Step {
    Step::Set {
        former: former.map(str::to_owned),
        value: value.to_owned(),
    }
}

fn ours(former: Option<&str>, value: &str) -> Found {
    Found {
        current: Some(value.to_owned()),
        record: Some(Record {
            value: value.to_owned(),
            former: former.map(str::to_owned),
            is_of_another: false,
        }),
        names_ours: true,
        ..found()
    }
}

#[test]
fn what_is_there_is_kept_and_ours_comes_last() {
    let (step, standing) = decide(&found(), SearchPath::Polite);
    assert_eq!(step, set(None, "\"$user\", public, crdv"));
    assert_eq!(standing, PathStanding::On);
    let theirs = Found {
        current: Some("app, public".to_owned()),
        ..found()
    };
    assert_eq!(
        decide(&theirs, SearchPath::Polite).0,
        set(Some("app, public"), "app, public, crdv")
    );
    assert_eq!(
        decide(&theirs, SearchPath::First).0,
        set(Some("app, public"), "crdv, app, public")
    );
    assert_eq!(decide(&theirs, SearchPath::Off).0, Step::Keep);
}

#[test]
fn a_path_with_colliding_names_is_left_alone_unless_asked() {
    let colliding = Found {
        collisions: vec!["public.data".to_owned()],
        ..found()
    };
    let (step, standing) = decide(&colliding, SearchPath::Polite);
    assert_eq!(step, Step::Keep);
    let PathStanding::Refrained(why) = standing else {
        panic!("{standing:?}")
    };
    assert!(
        why.contains("public.data") && why.contains("set search_path = "),
        "{why}"
    );
    assert_eq!(
        decide(&colliding, SearchPath::Last).0,
        set(None, "\"$user\", public, crdv")
    );
}

#[test]
fn doing_it_again_does_nothing_and_another_wish_starts_from_what_was_there() {
    let last = ours(Some("app"), "app, crdv");
    for wish in [SearchPath::Last, SearchPath::Polite] {
        assert_eq!(decide(&last, wish), (Step::Keep, PathStanding::On));
    }
    assert_eq!(
        decide(&last, SearchPath::First).0,
        set(Some("app"), "crdv, app")
    );
    assert_eq!(
        decide(&last, SearchPath::Off).0,
        Step::Restore(Some("app".to_owned()))
    );
    // A name that others took since is no reason to change what sessions rely on.
    let collisions = vec!["public.data".to_owned()];
    let later = Found { collisions, ..last };
    assert_eq!(
        decide(&later, SearchPath::Polite),
        (Step::Keep, PathStanding::On)
    );
}

#[test]
fn what_an_earlier_version_set_is_replaced() {
    let old = Found {
        current: Some(UNRECORDED.to_owned()),
        names_ours: true,
        ..found()
    };
    assert_eq!(
        decide(&old, SearchPath::Polite).0,
        set(None, "\"$user\", public, crdv")
    );
    assert_eq!(decide(&old, SearchPath::Off).0, Step::Restore(None));
    let collisions = vec!["public.data".to_owned()];
    let colliding = Found { collisions, ..old };
    assert_eq!(
        decide(&colliding, SearchPath::Polite).0,
        Step::Restore(None)
    );
}

#[test]
fn a_setting_that_somebody_changed_is_theirs() {
    let mut changed = ours(Some("app"), "app, crdv");
    changed.current = Some("other".to_owned());
    changed.names_ours = false;
    assert_eq!(decide(&changed, SearchPath::Off).0, Step::Keep);
    let (step, standing) = decide(&changed, SearchPath::Polite);
    assert_eq!(step, Step::Keep);
    assert!(matches!(standing, PathStanding::Refrained(_)));
    assert_eq!(
        decide(&changed, SearchPath::Last).0,
        set(Some("other"), "other, crdv")
    );
    changed.current = Some("other, \"crdv\", public".to_owned());
    changed.names_ours = true;
    for wish in [SearchPath::Polite, SearchPath::Last, SearchPath::First] {
        assert_eq!(decide(&changed, wish), (Step::Keep, PathStanding::On));
    }
}

#[test]
fn who_does_not_own_the_database_sets_nothing() {
    let stranger = Found {
        is_owner: false,
        ..found()
    };
    let (step, standing) = decide(&stranger, SearchPath::Last);
    assert_eq!(step, Step::Keep);
    assert!(matches!(standing, PathStanding::Refrained(_)));
}

#[test]
fn a_record_that_came_with_a_dump_says_nothing() {
    let mut restored = ours(Some("app"), "app, crdv");
    restored.current = None;
    restored.names_ours = false;
    // Somebody has reset it here: that is theirs.
    assert_eq!(decide(&restored, SearchPath::Polite).0, Step::Keep);
    restored.record.as_mut().unwrap().is_of_another = true;
    assert_eq!(
        decide(&restored, SearchPath::Polite).0,
        set(None, "\"$user\", public, crdv")
    );
}

#[test]
fn new_tables_do_not_land_in_ours_unasked() {
    let bare = Found {
        is_bare: true,
        ..found()
    };
    let (step, standing) = decide(&bare, SearchPath::Polite);
    assert_eq!(step, Step::Keep);
    assert!(matches!(standing, PathStanding::Refrained(_)));
}

#[test]
fn what_the_server_has_set_must_be_seen_or_known() {
    let unseen = Found {
        server: None,
        ..found()
    };
    let (step, standing) = decide(&unseen, SearchPath::Last);
    assert_eq!(step, Step::Keep);
    assert!(matches!(standing, PathStanding::Refrained(_)));
    // Ours hides what the server has, and holds it.
    for value in ["app, crdv", "crdv, app"] {
        let hidden = Found {
            server: None,
            ..ours(None, value)
        };
        assert_eq!(hidden.base().as_deref(), Some("app"));
    }
}
