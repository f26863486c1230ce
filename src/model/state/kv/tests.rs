use std::collections::HashMap;
use std::ptr;

use gguf_simd::attention::CacheType;

use super::*;
use crate::model::spec::kv::KvLayer;

const N_CTX: usize = 2 * CHUNK + 60;

/// Two layers of two heads with keys and values of two halves.
fn layout() -> Layout {
    let layer = KvLayer { n_head_kv: 2, head_dim_k: 2, head_dim_v: 2, window: None };
    let spec = KvSpec { layers: vec![Some(layer); 2] };
    Layout::new(&spec, KvTypes::both(CacheType::F16)).expect("F16 takes any head")
}

fn empty(promises: &Promises) -> KvCache {
    let promise = promises.take((layout().position_bytes * N_CTX) as u64).expect("few");
    KvCache::of_layout(Arc::new(layout()), N_CTX, promise).expect("memory")
}

/// The key of `position` in text `text`; the value has one more in its last byte.
fn row(text: u8, position: usize, layer: usize, head: usize) -> [u8; 4] {
    [text, (position >> 8) as u8, position as u8, (4 * layer + 2 * head) as u8]
}

/// Appends positions of text `text` in all layers.
fn append(cache: &mut KvCache, promises: &Promises, text: u8, n: usize) {
    let promise = promises.take(cache.missing_bytes(n)).expect("few");
    cache.prepare(n, promise).expect("memory");
    for position in cache.n_past..cache.n_past + n {
        for layer in 0..2 {
            let heads = cache.heads_mut(layer, position).next().expect("its chunk");
            for (head, mut to) in heads.enumerate() {
                let (at, mut row) = (position % CHUNK, row(text, position, layer, head));
                to.keys_mut(at..at + 1).copy_from_slice(&row);
                row[3] += 1;
                to.values_mut(at..at + 1).copy_from_slice(&row);
            }
        }
    }
    cache.advance(n);
}

/// Asserts that each position holds the rows of the text that it is of.
fn assert_rows(cache: &KvCache, texts: &[u8]) {
    assert_eq!(cache.n_past, texts.len());
    for (position, &text) in texts.iter().enumerate() {
        for (layer, head) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let (rows, mut row) = (cache.head(layer, head), row(text, position, layer, head));
            assert_eq!(rows.keys(position..position + 1), row, "position {position}");
            row[3] += 1;
            assert_eq!(rows.values(position..position + 1), row, "position {position}");
        }
    }
}

/// Asserts that promises and what is held are the chunks that exist, each counted once.
fn assert_counted<'a>(promises: &Promises, caches: impl Iterator<Item = &'a KvCache>) {
    let chunks = caches.flat_map(|cache| cache.chunks.iter().flatten());
    let chunks: HashMap<_, _> = chunks.map(|chunk| (Arc::as_ptr(chunk), chunk)).collect();
    let bytes_of = |is_filled: bool| -> u64 {
        let chunks = chunks.values().filter(|chunk| chunk.is_filled() == is_filled);
        chunks.map(|chunk| chunk.n_bytes()).sum()
    };
    assert_eq!((promises.promised_bytes(), promises.held_bytes()), (bytes_of(false), bytes_of(true)));
}

#[test]
fn caches_keep_their_rows_and_count_their_bytes_through_any_operations() {
    let promises = Promises::default();
    let mut seed = 1u64;
    let mut random = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % n
    };
    // Each with the text that every position is of.
    let mut caches = vec![(empty(&promises), Vec::new())];
    for text in 0..=255 {
        let n_caches = caches.len();
        let i = random(n_caches);
        let (cache, texts) = &mut caches[i];
        match random(6) {
            0 | 1 => {
                let n = random(N_CTX - cache.n_past + 1);
                append(cache, &promises, text, n);
                texts.resize(cache.n_past, text);
            }
            2 => {
                let n = random(cache.n_past + 1);
                cache.truncate(n);
                texts.truncate(n);
            }
            3 if n_caches > 1 => drop(caches.swap_remove(i)),
            _ if n_caches < 6 => {
                let n = [0, cache.n_past, random(cache.n_past + 1)][random(3)];
                let promise = promises.take(cache.fork_bytes(n)).expect("few");
                let fork = (cache.fork(n, promise).expect("memory"), texts[..n].to_vec());
                caches.push(fork);
            }
            _ => cache.truncate(texts.len()),
        }
        caches.iter().for_each(|(cache, texts)| assert_rows(cache, texts));
        assert_counted(&promises, caches.iter().map(|(cache, _)| cache));
    }
    drop(caches);
    assert_eq!((promises.promised_bytes(), promises.held_bytes()), (0, 0));
}

#[test]
fn forks_share_whole_chunks_and_reserve_only_the_rest() {
    let promises = Promises::default();
    let mut parent = empty(&promises);
    let position_bytes = layout().position_bytes as u64;
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
fn a_shared_chunk_is_filled_again_in_a_copy_while_it_is_shared() {
    let promises = Promises::default();
    let mut parent = empty(&promises);
    append(&mut parent, &promises, 0, CHUNK);
    let child = parent.fork(CHUNK, promises.take(parent.fork_bytes(CHUNK)).unwrap()).unwrap();
    parent.truncate(10);
    assert_eq!(parent.missing_bytes(1), (layout().position_bytes * CHUNK) as u64);
    drop(child);
    assert_eq!(parent.missing_bytes(1), 0, "its chunk is no longer shared");
    append(&mut parent, &promises, 1, 1);
    assert_rows(&parent, &[[0; 10].as_slice(), &[1]].concat());
}

#[test]
#[should_panic(expected = "a chunk of its own")]
fn a_shared_chunk_is_never_written_to() {
    let promises = Promises::default();
    let mut parent = empty(&promises);
    append(&mut parent, &promises, 0, CHUNK);
    let _child = parent.fork(CHUNK, promises.take(parent.fork_bytes(CHUNK)).unwrap()).unwrap();
    parent.truncate(10);
    parent.advance(1);
}
