//! Equal sets of operations give equal reads: random transactions of all write functions at three to
//! five stores, brought to each other in random order, twice, in batches and by catch-ups; the table,
//! every view and every read function is compared with the model, and the stores with each other.
//!
//! Each case has a number, from which all of it follows. What fails is made small and printed.
//! `STARLING_TEST_SEED=7` plays case 7 only; `PROPTEST_CASES=5000` plays so many, from 1 or from
//! `STARLING_TEST_SEED` on. A long campaign wants `cargo test`, because nextest ends a slow test.
//!
//! The property is proved by breaking the rules one by one: each time it has to notice.

#[path = "convergence/call.rs"]
mod call;
#[path = "convergence/reads.rs"]
mod reads;
#[path = "convergence/world.rs"]
mod world;

use std::{cell::RefCell, env, ops::Range};

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use tokio::runtime::Runtime;

use world::{Case, Fault, World, case};

/// As many cases as an ordinary run plays.
const CASES: u64 = 60;

fn cases() -> Range<u64> {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (seed, cases) = (number("STARLING_TEST_SEED"), number("PROPTEST_CASES"));
    let first = seed.unwrap_or(1);
    let count = cases.unwrap_or(if seed.is_some() { 1 } else { CASES });
    first..first + count
}

/// Stores, and a runtime to talk to them: a property is not asynchronous.
struct Stage {
    runtime: Runtime,
    world: RefCell<World>,
}

impl Stage {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let world = RefCell::new(runtime.block_on(World::new()));
        Self { runtime, world }
    }

    /// Plays a case; of one that fails, what is left of it after at most so many attempts to make it
    /// smaller.
    fn play(&self, seed: u64, attempts: u32) -> Result<(), TestError<Case>> {
        let config = Config {
            cases: 1,
            rng_seed: RngSeed::Fixed(seed),
            failure_persistence: None,
            max_shrink_iters: attempts,
            max_shrink_time: 100_000,
            ..Config::default()
        };
        TestRunner::new(config).run(&case(), |case| {
            let mut world = self.world.borrow_mut();
            let played = self.runtime.block_on(world.play(&case));
            played.map_err(|Fault(fault)| TestCaseError::fail(fault))
        })
    }
}

#[test]
fn stores_with_equal_operations_read_equal() {
    let stage = Stage::new();
    for seed in cases() {
        if let Err(error) = stage.play(seed, 4_000) {
            panic!("STARLING_TEST_SEED={seed}\n{error}\n{error:#?}");
        }
    }
}

/// Rules, and how each is broken in a store.
const SABOTAGES: [(&str, &str); 13] = [
    (
        "of equal clocks that of the lowest site wins",
        "create or replace view crdv.registerlww as
           select distinct on (e.id) e.id, e.data from crdv.element e where e.type = 'r'
           order by e.id, e.hlc desc, e.site desc",
    ),
    (
        "remove wins when any removal is present",
        "create or replace view crdv.setrw as
           select e.id, e.key as data from crdv.element e where e.type = 's'
           group by e.id, e.key having (array_agg(e.op order by e.site))[1] = 'a'",
    ),
    (
        "a context contains the number that it names",
        "create or replace function crdv.holds(
           sites bigint[], seqs bigint[], site_ bigint, seq_ bigint) returns boolean
           language sql immutable parallel safe
           return seqs[array_position(sites, site_)] > seq_",
    ),
    (
        "a context names all sites that the writer saw",
        "create function public.sabotage() returns trigger language plpgsql as $$ begin
           new.ctx_sites := trim_array(new.ctx_sites, 1);
           new.ctx_seqs := trim_array(new.ctx_seqs, 1);
           return new;
         end $$;
         create trigger sabotage before insert on crdv.element for each row
           when (new.via = 0 and cardinality(new.ctx_sites) > 1)
           execute function public.sabotage()",
    ),
    (
        "a writer's clock is above all that it covers",
        "create function public.sabotage() returns trigger language plpgsql as $$ begin
           new.hlc := 1 << 30;
           return new;
         end $$;
         create trigger sabotage before insert on crdv.element for each row
           when (new.via = 0) execute function public.sabotage()",
    ),
    (
        "a removal is kept, whatever is here",
        "create function public.sabotage() returns trigger language plpgsql as $$ begin
           if new.op = 'r' and not exists (select from crdv.element e
             where (e.type, e.id, e.key) = (new.type, new.id, new.key)) then return null; end if;
           return new;
         end $$;
         create trigger a_sabotage before insert on crdv.element for each row
           execute function public.sabotage();
         alter table crdv.element enable replica trigger a_sabotage",
    ),
    (
        "an operation that is not covered stays",
        "create function public.sabotage() returns trigger language plpgsql as $$ begin
           delete from crdv.element e where (e.type, e.id, e.key) = (new.type, new.id, new.key)
             and e.site < new.site;
           return new;
         end $$;
         create trigger sabotage before insert on crdv.element for each row
           execute function public.sabotage();
         alter table crdv.element enable replica trigger sabotage",
    ),
    (
        "a catch-up takes away only what it covers",
        "create function public.sabotage() returns trigger language plpgsql as $$ begin
           delete from crdv.element e where (e.type, e.id, e.key) = (new.type, new.id, new.key)
             and e.via = 0;
           return new;
         end $$;
         create trigger sabotage before insert on crdv.element for each row
           when (new.via <> 0) execute function public.sabotage()",
    ),
    (
        "entries are ordered by where they were put",
        "create function public.sabotage() returns trigger language plpgsql as $$ begin
           new.key := 'g0' || substr(new.key, strpos(new.key, '.'));
           return new;
         end $$;
         create trigger sabotage before insert on crdv.element for each row
           when (new.type = 'l' and new.op = 'a') execute function public.sabotage()",
    ),
    (
        "an addition adds what holds it",
        "create or replace function crdv.keep_sources(dst_ text) returns void
           language sql begin atomic end",
    ),
    (
        "a list that holds a structure holds it once",
        "do $$ begin execute replace(pg_get_functiondef('crdv.keep_sources(text)'::regprocedure),
           'place is null', 'true'); end $$",
    ),
    (
        "a register that was removed does not exist",
        "create or replace view crdv.registerlww as
           select distinct on (e.id) e.id, e.data from crdv.element e where e.type = 'r'
           order by e.id, e.hlc desc, e.site",
    ),
    (
        "a vector of Data has what the writer had seen",
        "do $$ begin execute 'create or replace view crdv.data as '
           || replace(pg_get_viewdef('crdv.data'::regclass), 'e.ctx_seqs[', '0 * e.ctx_seqs['); end $$",
    ),
];

#[test]
fn the_property_notices_each_rule_that_is_broken() {
    let stage = Stage::new();
    let everywhere = |sql: &str| {
        let world = stage.world.borrow();
        stage.runtime.block_on(world.everywhere(sql));
    };
    for (rule, sabotage) in SABOTAGES {
        everywhere(sabotage);
        let found = (1..=CASES).find_map(|seed| Some((seed, stage.play(seed, 0).err()?)));
        let Some((seed, error)) = found else {
            panic!("in {CASES} cases it was not noticed that it does not hold: {rule}");
        };
        let TestError::Fail(reason, _) = error else {
            panic!("{rule}: {error}");
        };
        let reason: String = reason.message().chars().take(300).collect();
        println!("{rule}: noticed in case {seed}\n  {reason}");
        everywhere("drop function if exists public.sabotage() cascade");
        if !sabotage.contains("public.sabotage") {
            stage.runtime.block_on(stage.world.borrow_mut().repair());
        }
        // The same case is played well again, so it was the broken rule that was noticed.
        stage.play(seed, 0).unwrap();
    }
}
