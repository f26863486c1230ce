use std::collections::HashMap;
use std::ptr;

use gguf_simd::attention::CacheType;

use super::*;
use crate::model::spec::kv::KvLayer;
use crate::model::state::promises::Promises;

const N_CTX: usize = 5 * CHUNK + 60;
const N_BATCH: usize = 40;

/// A layer with heads of two and three halves.
fn layer(n_head_kv: usize, window: Option<usize>) -> KvLayer {
    KvLayer { n_head_kv, head_dim_k: 2, head_dim_v: 3, window }
}

/// Two layers that see everything.
fn alike() -> KvSpec {
    KvSpec::without_states(vec![Some(layer(2, None)); 2])
}

/// Layers that see everything, a little, more than a chunk, and that keep nothing.
fn mixed() -> KvSpec {
    let wide = KvLayer { head_dim_k: 4, ..layer(1, None) };
    let layers = [Some(layer(1, Some(5))), Some(wide), None, Some(layer(2, Some(300)))];
    let layers = layers.into_iter().chain([Some(layer(2, None)), Some(layer(3, Some(5)))]);
    KvSpec::without_states(layers.collect())
}

fn options() -> KvOptions {
    KvOptions { n_ctx: N_CTX, n_batch: N_BATCH, types: KvTypes::both(CacheType::F16) }
}

fn empty(spec: &KvSpec, options: KvOptions, promises: &Promises) -> KvCache {
    let promise = promises.take(KvCache::n_bytes(spec, options).expect("F16 takes any head")).expect("few");
    KvCache::new(spec, options, promise).expect("memory")
}

/// What the bytes of a row repeat, of the key or the value of a head at a position of text `text`.
fn pattern(text: u8, position: usize, layer: usize, head: usize, is_value: bool) -> [u8; 5] {
    let of_head = (16 * layer + 2 * head + usize::from(is_value)) as u8;
    [text, (position >> 8) as u8, position as u8, of_head, 7]
}

fn is_row(found: &[u8], pattern: [u8; 5]) -> bool {
    !found.is_empty() && found.iter().eq(pattern.iter().cycle().take(found.len()))
}

fn fill_row(row: &mut [u8], pattern: [u8; 5]) {
    row.iter_mut().zip(pattern.iter().cycle()).for_each(|(to, from)| *to = *from);
}

/// The layers that keep something, with their numbers.
fn layers(cache: &KvCache) -> impl Iterator<Item = (usize, KvLayer)> {
    let layers = cache.layout.spec.layers.iter().enumerate();
    layers.filter_map(|(i, layer)| Some((i, (*layer)?)))
}

/// Asserts that a query at `position` sees the rows of the text that each position is of.
fn assert_sees(cache: &KvCache, position: usize, text_of: impl Fn(usize) -> u8) {
    for (i, layer) in layers(cache) {
        let first = layer.window.map_or(0, |window| (position + 1).saturating_sub(window));
        for (head, at) in (0..layer.n_head_kv).flat_map(|head| (first..position).map(move |at| (head, at))) {
            let rows = cache.head(i, head);
            let is_sound = is_row(rows.keys(at..at + 1), pattern(text_of(at), at, i, head, false))
                && is_row(rows.values(at..at + 1), pattern(text_of(at), at, i, head, true));
            assert!(is_sound, "layer {i}, head {head}, position {at} from {position}");
        }
    }
}

/// Writes the rows of `n` positions of text `text` in all layers, as a batch does: chunk by chunk.
fn write(cache: &mut KvCache, text: u8, n: usize) {
    let (start, end) = (cache.n_past, cache.n_past + n);
    for (i, _) in layers(cache).collect::<Vec<_>>() {
        let mut chunks = cache.heads_mut(i, start);
        let mut position = start;
        while position < end {
            let next = end.min((position / CHUNK + 1) * CHUNK);
            for (head, mut to) in chunks.next().expect("its chunk").enumerate() {
                for at in position..next {
                    let in_chunk = at % CHUNK..at % CHUNK + 1;
                    fill_row(to.keys_mut(in_chunk.clone()), pattern(text, at, i, head, false));
                    fill_row(to.values_mut(in_chunk), pattern(text, at, i, head, true));
                }
            }
            position = next;
        }
    }
}

/// Appends positions of text `text` in all layers, in batches.
fn append(cache: &mut KvCache, promises: &Promises, text: u8, n: usize) {
    let promise = promises.take(cache.missing_bytes(n)).expect("few");
    cache.prepare(n, promise).expect("memory");
    assert_eq!(cache.missing_bytes(n), 0);
    let end = cache.n_past + n;
    while cache.n_past < end {
        let n = cache.n_batch().min(end - cache.n_past);
        cache.begin(n);
        write(cache, text, n);
        cache.advance(n);
    }
}

/// Asserts that promises and what is held are the chunks that exist, each counted once.
fn assert_counted<'a>(promises: &Promises, caches: impl Iterator<Item = &'a KvCache>) {
    let chunks = caches.flat_map(|cache| {
        let remembered = cache.checkpoints.iter().flat_map(|checkpoint| checkpoint.held.iter().flatten());
        let remembered = remembered.flat_map(|held| held.places().map(|(_, chunk)| chunk));
        cache.groups.iter().flat_map(Group::chunks).chain(remembered)
    });
    let chunks: HashMap<_, _> = chunks.map(|chunk| (Arc::as_ptr(chunk), chunk)).collect();
    let bytes_of = |is_filled: bool| -> u64 {
        let chunks = chunks.values().filter(|chunk| chunk.is_filled() == is_filled);
        chunks.map(|chunk| chunk.n_bytes()).sum()
    };
    assert_eq!((promises.promised_bytes(), promises.held_bytes()), (bytes_of(false), bytes_of(true)));
}

/// A cache, and the text that each of its positions is of.
type Told = (KvCache, Vec<u8>);

fn go_back((cache, texts): &mut Told, n: usize) {
    let (reach, checkpoints) = (cache.reach(n), cache.checkpoints.iter().map(|checkpoint| checkpoint.n_past));
    let checkpoint = checkpoints.filter(|&at| at <= n).max().unwrap_or(0);
    let has_windows = cache.groups.iter().any(Group::drops);
    let kept = cache.rewind(n);
    assert_eq!(kept, reach);
    assert!(kept <= n && kept >= if has_windows { checkpoint } else { n.min(texts.len()) });
    texts.truncate(kept);
}

/// A cache of other dimensions that has got what `cache` wrote.
fn transferred(cache: &KvCache, options: KvOptions, promises: &Promises) -> KvCache {
    let (spec, mut bytes) = (&cache.layout.spec, Vec::new());
    cache.write_rows(&mut bytes).expect("a vector takes anything");
    let first = cache.first_held();
    let n_bytes = KvCache::row_bytes(spec, options.types, cache.n_past, &first).expect("F16 takes any head");
    assert_eq!(n_bytes, Some(bytes.len() as u64));
    let mut read = empty(spec, options, promises);
    read.read_rows(cache.n_past, &first, &mut bytes.as_slice()).expect("all are there");
    read
}

fn assert_caches_keep_their_rows(spec: &KvSpec) {
    let promises = Promises::default();
    let mut seed = 1u64;
    let mut random = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % n
    };
    let mut caches: Vec<Told> = vec![(empty(spec, options(), &promises), Vec::new())];
    for text in (0..=255).cycle().take(700) {
        let n_caches = caches.len();
        let i = random(n_caches);
        let told = &mut caches[i];
        let n_past = told.0.n_past;
        match random(12) {
            0..=3 => {
                let most = [N_CTX, 2 * CHUNK, 30][random(3)].min(N_CTX - n_past);
                append(&mut told.0, &promises, text, random(most + 1));
                told.1.resize(told.0.n_past, text);
            }
            4 => go_back(told, random(n_past + 1)),
            5 => go_back(told, n_past.saturating_sub(random(60))),
            6 | 7 => told.0.checkpoint(),
            8 if n_caches > 1 => drop(caches.swap_remove(i)),
            9 if n_caches < 6 => {
                let n_ctx = N_CTX * [1, 4][random(2)];
                let options = KvOptions { n_ctx, n_batch: N_BATCH + random(500), ..options() };
                let read = (transferred(&told.0, options, &promises), told.1.clone());
                caches.push(read);
            }
            10 | 11 if n_caches < 6 => {
                let n = [0, n_past, random(n_past + 1)][random(3)];
                let promise = promises.take(told.0.fork_bytes(n)).expect("few");
                let fork = told.0.fork(n, promise).expect("memory");
                assert_eq!(fork.n_past, told.0.reach(n));
                let texts = told.1[..fork.n_past].to_vec();
                caches.push((fork, texts));
            }
            _ => _ = told.0.forget_checkpoints(),
        }
        for (cache, texts) in &caches {
            assert_eq!(cache.n_past, texts.len());
            assert_sees(cache, cache.n_past, |position| texts[position]);
            let checkpoints: Vec<_> = cache.checkpoints.iter().map(|checkpoint| checkpoint.n_past).collect();
            assert!(checkpoints.is_sorted() && checkpoints.len() <= 4, "{checkpoints:?}");
            assert!(checkpoints.last().is_none_or(|&last| last <= cache.n_past));
        }
        assert_counted(&promises, caches.iter().map(|(cache, _)| cache));
    }
    drop(caches);
    assert_eq!((promises.promised_bytes(), promises.held_bytes()), (0, 0));
}

#[test]
fn caches_keep_their_rows_and_count_their_bytes_through_any_operations() {
    assert_caches_keep_their_rows(&alike());
    assert_caches_keep_their_rows(&mixed());
    // The second window holds everything in a short context, unless that comes from a long one.
    assert_caches_keep_their_rows(&KvSpec::without_states([5, 1000].map(|n| Some(layer(1, Some(n)))).into()));
}

#[test]
fn every_query_of_a_batch_sees_its_window_while_the_batch_is_written() {
    let promises = Promises::default();
    for n_batch in [1, 7, 255, 256, 257, 700] {
        let mut cache = empty(&mixed(), KvOptions { n_batch, ..options() }, &promises);
        while cache.n_past < N_CTX {
            let n = n_batch.min(N_CTX - cache.n_past);
            assert_eq!(cache.missing_bytes(n), 0, "nothing is shared");
            cache.begin(n);
            write(&mut cache, 3, n);
            for position in [cache.n_past, cache.n_past + n / 2, cache.n_past + n - 1] {
                assert_sees(&cache, position, |_| 3);
            }
            cache.advance(n);
        }
    }
}

/// Bytes that caches have taken.
fn taken(promises: &Promises) -> u64 {
    promises.promised_bytes() + promises.held_bytes()
}

#[test]
fn a_window_takes_the_chunks_that_it_sees_and_a_batch_adds_however_long_the_text() {
    let spec = KvSpec::without_states(vec![Some(layer(1, Some(512)))]);
    let row_bytes = 2 * (2 + 3);
    let n_bytes =
        |n_ctx, n_batch| KvCache::n_bytes(&spec, KvOptions { n_ctx, n_batch, ..options() }).unwrap();
    // (512 - 1 + 512) / 256, rounded up, and one more.
    assert_eq!(n_bytes(1 << 20, 512), 5 * 256 * row_bytes);
    assert_eq!(n_bytes(1 << 20, 1), 3 * 256 * row_bytes);
    assert_eq!(n_bytes(5 * 256 - 1, 512), (5 * 256 - 1) * row_bytes, "never more than all positions");
    assert_eq!(n_bytes(usize::MAX, usize::MAX), u64::MAX);
    let promises = Promises::default();
    let options = KvOptions { n_ctx: 1 << 20, n_batch: 512, ..options() };
    let mut cache = empty(&spec, options, &promises);
    for n in [1, 512, 700, 5, 2000].into_iter().chain([1; 600]) {
        assert_eq!(cache.missing_bytes(n), 0);
        append(&mut cache, &promises, 0, n);
        assert_eq!(taken(&promises), 5 * 256 * row_bytes);
    }
}

#[test]
#[should_panic(expected = "positions 0.. of the layers with window Some(5) are not in the cache")]
fn a_position_that_was_dropped_cannot_be_read() {
    let promises = Promises::default();
    let mut cache = empty(&mixed(), options(), &promises);
    append(&mut cache, &promises, 0, 3 * CHUNK);
    cache.head(0, 0).keys(9..10);
}

#[test]
fn a_cache_goes_back_as_far_as_its_windows_or_to_a_checkpoint_or_to_the_beginning() {
    let promises = Promises::default();
    let mut cache = empty(&mixed(), options(), &promises);
    append(&mut cache, &promises, 0, 400);
    cache.checkpoint();
    append(&mut cache, &promises, 0, 700);
    // The window of 300 has three chunks, positions 512 on.
    assert_eq!(cache.reach(1000), 1000);
    assert_eq!(cache.reach(512 + 299), 512 + 299);
    assert_eq!(cache.reach(512 + 298), 400, "position 511 is not there any more");
    assert_eq!(cache.reach(401), 400);
    // The checkpoint has position 0, so all that is before it.
    assert_eq!(cache.reach(399), 399);
    let mut fork = cache.fork(600, promises.take(cache.fork_bytes(600)).unwrap()).unwrap();
    assert_eq!((fork.n_past, cache.n_past), (400, 1100));
    append(&mut fork, &promises, 1, 800);
    assert_eq!(fork.rewind(399), 399, "a fork has the checkpoints");
    assert_eq!(cache.rewind(810), 400);
    append(&mut cache, &promises, 2, 900);
    assert_eq!(cache.rewind(402), 400, "a checkpoint is there until the text before it changes");
    append(&mut cache, &promises, 3, 900);
    assert!(cache.forget_checkpoints() && !cache.forget_checkpoints());
    assert_eq!(cache.rewind(399), 0);
}

#[test]
fn a_checkpoint_has_some_positions_before_its_window() {
    let promises = Promises::default();
    let mut cache = empty(&mixed(), options(), &promises);
    // The window of 300 begins with a chunk.
    append(&mut cache, &promises, 0, CHUNK + 299);
    cache.checkpoint();
    append(&mut cache, &promises, 1, 700);
    assert_eq!(cache.rewind(CHUNK + 299 - 32), CHUNK + 299 - 32);
    assert_sees(&cache, CHUNK + 299 - 32, |_| 0);
}

#[test]
fn what_a_cache_held_before_it_was_read_is_forgotten() {
    let promises = Promises::default();
    let [mut written, mut read] = [0, 1].map(|_| empty(&mixed(), options(), &promises));
    append(&mut written, &promises, 0, 1000);
    append(&mut read, &promises, 1, 700);
    let (mut rows, first) = (Vec::new(), written.first_held());
    written.write_rows(&mut rows).unwrap();
    read.read_rows(1000, &first, &mut rows.as_slice()).unwrap();
    assert_sees(&read, 1000, |_| 0);
    assert_eq!(read.rewind(600), 0, "what windows see from there is not in the file");
}

#[test]
fn checkpoints_take_memory_up_to_a_bound_and_give_it_back() {
    let promises = Promises::default();
    let options = KvOptions { n_ctx: 64 * CHUNK, ..options() };
    let spec = KvSpec::without_states(vec![Some(layer(1, Some(300)))]);
    let mut cache = empty(&spec, options, &promises);
    let least = taken(&promises);
    let mut most = 0;
    for i in 0..40 {
        append(&mut cache, &promises, 0, 300);
        cache.checkpoint();
        most = most.max(taken(&promises));
        assert!(i < 10 || taken(&promises) == most, "later ones take the chunks of earlier ones");
    }
    let chunk_bytes = least / 3;
    assert!(most <= least + 4 * 3 * chunk_bytes, "{most} bytes");
    append(&mut cache, &promises, 0, 1);
    assert!(cache.forget_checkpoints());
    assert_eq!(cache.missing_bytes(1000), 0, "nothing is shared any more");
}

#[test]
fn forks_share_whole_chunks_and_reserve_only_the_rest() {
    let promises = Promises::default();
    let options = KvOptions { n_ctx: 2 * CHUNK + 60, ..options() };
    let mut parent = empty(&alike(), options, &promises);
    let position_bytes = taken(&promises) / options.n_ctx as u64;
    append(&mut parent, &promises, 0, 2 * CHUNK + 50);
    let child = parent.fork(CHUNK + 30, promises.take(parent.fork_bytes(CHUNK + 30)).unwrap()).unwrap();
    let chunk = |cache: &KvCache, i: usize| cache.head(0, 0).keys(i * CHUNK..i * CHUNK + 1).as_ptr();
    assert!(ptr::eq(chunk(&child, 0), chunk(&parent, 0)));
    assert!(!ptr::eq(chunk(&child, 1), chunk(&parent, 1)));
    assert_eq!(promises.held_bytes(), position_bytes * 2 * CHUNK as u64);
    assert_eq!(child.unfilled_bytes(), position_bytes * (CHUNK + 60) as u64);
    assert_eq!(promises.promised_bytes(), position_bytes * (CHUNK + 120) as u64);
}

#[test]
fn a_fork_has_all_it_needs_to_fill_its_context() {
    let promises = Promises::default();
    let mut parent = empty(&mixed(), options(), &promises);
    append(&mut parent, &promises, 0, 1000);
    let mut child = parent.fork(1000, promises.take(parent.fork_bytes(1000)).unwrap()).unwrap();
    let before = taken(&promises);
    append(&mut child, &promises, 1, N_CTX - 1000);
    assert_eq!(taken(&promises), before);
}

#[test]
fn a_shared_chunk_is_filled_again_in_a_copy_while_it_is_shared() {
    let promises = Promises::default();
    let mut parent = empty(&alike(), options(), &promises);
    let chunk_bytes = taken(&promises) / N_CTX as u64 * CHUNK as u64;
    append(&mut parent, &promises, 0, CHUNK);
    let child = parent.fork(CHUNK, promises.take(parent.fork_bytes(CHUNK)).unwrap()).unwrap();
    assert_eq!(parent.rewind(10), 10);
    assert_eq!(parent.missing_bytes(1), chunk_bytes);
    drop(child);
    assert_eq!(parent.missing_bytes(1), 0, "its chunk is no longer shared");
    append(&mut parent, &promises, 1, 1);
    assert_sees(&parent, 11, |position| u8::from(position == 10));
}

#[test]
#[should_panic(expected = "a chunk of its own")]
fn a_shared_chunk_is_never_written_to() {
    let promises = Promises::default();
    let mut parent = empty(&alike(), options(), &promises);
    append(&mut parent, &promises, 0, CHUNK);
    let _child = parent.fork(CHUNK, promises.take(parent.fork_bytes(CHUNK)).unwrap()).unwrap();
    parent.rewind(10);
    parent.advance(1);
}

#[test]
fn what_a_file_leaves_out_is_never_seen() {
    let (spec, types) = (mixed(), options().types);
    // The windows are 5, none and 300.
    let row_bytes = |n: usize, first: [usize; 3]| KvCache::row_bytes(&spec, types, n, &first).unwrap();
    let (little, all, more) = (4 * 10, 14 + 2 * 10, 2 * 10);
    assert_eq!(row_bytes(600, [512, 0, 256]), Some(88 * little + 600 * all + 344 * more));
    assert_eq!(row_bytes(600, [0, 0, 0]), Some(600 * (little + all + more)));
    for first in [[768, 0, 0], [0, 256, 0], [0, 0, 512], [100, 0, 0], [usize::MAX, 0, 0]] {
        assert_eq!(row_bytes(600, first), None, "{first:?}");
    }
}
