use proptest::prelude::{Strategy, prop, prop_assert_eq, proptest};

use super::{AHEAD_MAX, ROLES_MAX, RoleChange, RoleError, RoleName, RoleRecord, Roles, Verifier};
use crate::identity::NodeId;

const NOW: u64 = 1_700_000_000_000;

fn name(text: &str) -> RoleName {
    text.parse().unwrap()
}

fn node(text: &str) -> NodeId {
    text.parse::<NodeId>().unwrap()
}

fn verifier(number: u8) -> Verifier {
    let key = |letter: char| format!("{}=", letter.to_string().repeat(43));
    let letter = char::from(b'A' + number % 26);
    format!("SCRAM-SHA-256$4096:c2FsdA==${}:{}", key(letter), key('b'))
        .parse()
        .unwrap()
}

fn record(role: &str, version: u64, verifier: Option<Verifier>) -> RoleRecord {
    RoleRecord {
        name: name(role),
        version,
        author: node("a"),
        verifier,
    }
}

#[test]
fn a_role_is_made_once_and_changed_or_removed_while_it_is_there() {
    let mut roles = Roles::default();
    let (shop, me) = (name("shop"), node("a"));
    assert_eq!(
        roles.change(shop.clone(), RoleChange::Remove, &me, NOW),
        Err(RoleError::Unknown(shop.clone()))
    );
    assert_eq!(
        roles.change(shop.clone(), RoleChange::Add(verifier(0)), &me, NOW),
        Ok(())
    );
    assert_eq!(
        roles.change(shop.clone(), RoleChange::Add(verifier(1)), &me, NOW),
        Err(RoleError::Exists(shop.clone()))
    );
    assert_eq!(
        roles.change(shop.clone(), RoleChange::Rotate(verifier(1)), &me, NOW),
        Ok(())
    );
    assert_eq!(
        roles.records(),
        [record("shop", NOW + 1, Some(verifier(1)))]
    );
    assert_eq!(
        roles.change(shop.clone(), RoleChange::Remove, &me, NOW + 9),
        Ok(())
    );
    assert_eq!(
        roles.change(shop.clone(), RoleChange::Rotate(verifier(1)), &me, NOW),
        Err(RoleError::Unknown(shop.clone()))
    );
    assert_eq!(roles.records(), [record("shop", NOW + 9, None)]);
    assert_eq!(
        roles.change(shop, RoleChange::Add(verifier(2)), &me, NOW),
        Ok(())
    );
    assert_eq!(
        roles.records(),
        [record("shop", NOW + 10, Some(verifier(2)))]
    );
}

/// A node that was away comes back with a role that was removed meanwhile.
#[test]
fn what_was_removed_stays_removed() {
    let mut here = Roles::default();
    here.change(name("shop"), RoleChange::Add(verifier(0)), &node("a"), NOW)
        .unwrap();
    let mut away = here.clone();
    // The clock of the node on which it is removed is behind.
    here.change(name("shop"), RoleChange::Remove, &node("b"), NOW - 60_000)
        .unwrap();
    assert!(!here.merge(away.records(), NOW), "nothing new");
    assert!(away.merge(here.records(), NOW));
    assert_eq!(away.records(), here.records());
    assert_eq!(away.records()[0].verifier, None);
}

#[test]
fn what_is_out_of_bounds_is_refused_and_counted() {
    let mut roles = Roles::default();
    assert!(!roles.merge(vec![record("late", NOW + AHEAD_MAX + 1, None)], NOW));
    let mut author = record("author", NOW, None);
    author.author = serde_json::from_value("a".repeat(1_000).into()).unwrap();
    assert!(!roles.merge(vec![author], NOW));
    assert_eq!(roles.refused(), 2);
    let many = (0..ROLES_MAX + 7).map(|number| record(&format!("r{number}"), NOW, None));
    assert!(roles.merge(many.collect(), NOW));
    assert_eq!((roles.records().len(), roles.refused()), (ROLES_MAX, 9));
    assert!(!roles.merge(vec![record("more", NOW, None)], NOW));
    assert_eq!(roles.refused(), 10);
    assert_eq!(
        roles.change(name("more"), RoleChange::Add(verifier(0)), &node("a"), NOW),
        Err(RoleError::Full)
    );
    assert_eq!(
        roles.change(name("r1"), RoleChange::Add(verifier(0)), &node("a"), NOW),
        Ok(())
    );
}

#[test]
fn names_need_no_quotes_and_mean_nothing_else() {
    for good in ["a", "shop_2", &"x".repeat(63)] {
        assert!(good.parse::<RoleName>().is_ok(), "{good}");
    }
    for bad in [
        "",
        "2a",
        "_a",
        "Shop",
        "a-b",
        "a b",
        "a\"b",
        "a'",
        "ä",
        "a\n",
        &"x".repeat(64),
        "pg_x",
        "starling",
        "starling_replication",
        "crdv",
        "public",
        "none",
        "current_user",
        "postgres",
        "all",
        "replication",
    ] {
        assert!(bad.parse::<RoleName>().is_err(), "{bad}");
    }
    let told: Result<RoleName, _> = serde_json::from_str(r#""pg_monitor""#);
    assert!(told.is_err(), "of peers as well");
}

#[test]
fn only_a_verifier_is_one() {
    let good = crate::store::scram_verifier("geheim");
    assert!(good.parse::<Verifier>().is_ok(), "{good}");
    let with = |from: &str, to: &str| good.replacen(from, to, 1);
    for bad in [
        String::new(),
        "geheim".to_owned(),
        "md5d41d8cd98f00b204e9800998ecf8427e".to_owned(),
        with("SHA-256", "SHA-1"),
        with("4096", "1"),
        with("4096", "+4096"),
        with("4096", "99999999"),
        with(":", ":'"),
        good[..good.len() - 4].to_owned(),
        format!("{good}\n"),
        format!("{good}'; drop table crdv.element; --"),
    ] {
        assert!(bad.parse::<Verifier>().is_err(), "{bad}");
        let told: Result<Verifier, _> = serde_json::from_value(bad.clone().into());
        assert!(told.is_err(), "{bad}");
    }
    assert!(!format!("{:?}", verifier(0)).contains("4096"));
}

proptest! {
    /// Any order, any repetition: all nodes end with the same.
    #[test]
    fn all_nodes_agree(
        said in prop::collection::vec((0..4_u8, 0..4_u64, 0..3_u8, prop::option::of(0..3_u8)), 1..24)
            .prop_flat_map(|said| { let len = said.len(); (proptest::strategy::Just(said), prop::collection::vec(0..len, len * 2)) })
    ) {
        let (said, order) = said;
        let records: Vec<_> = said
            .iter()
            .map(|(role, version, author, proof)| RoleRecord {
                name: name(&format!("r{role}")),
                version: *version,
                author: node(&format!("n{author}")),
                verifier: proof.map(verifier),
            })
            .collect();
        let (mut one, mut other) = (Roles::default(), Roles::default());
        one.merge(records.clone(), NOW);
        for at in order {
            other.merge(vec![records[at].clone()], NOW);
        }
        other.merge(one.records(), NOW);
        one.merge(other.records(), NOW);
        prop_assert_eq!(one.records(), other.records());
        other.merge(records, NOW);
        prop_assert_eq!(one.records(), other.records());
    }
}
