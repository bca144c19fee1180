//! A small transformer that learns to spell words backwards, letter by letter.
//!
//! Shows attention with a causal mask, layer normalization, dropout, AdamW with warm-up, a falling
//! learning rate and clipping, sequences that stay on the device, and generation. Words are random
//! letters, so that none can be guessed: a model that looks at no other place has a loss of ln 26 = 3.26
//! for each letter, and one that knows which letters there are, but not where, about 1.2.
//!
//! `cargo run --release -p warmstart-examples --bin transformer [steps: 200] [directory:
//! runs/transformer]`. Run again, it goes on from its newest checkpoint.

use std::error::Error;
use warmstart::graph::random::Philox;
use warmstart::prelude::*;
use warmstart_examples::arguments;

const LETTERS: usize = 8;
/// A word, `>`, and all but the last letter of the answer.
const CONTEXT: usize = 2 * LETTERS;
/// The letters of the alphabet, and `>`.
const VOCABULARY: usize = 27;
const END_OF_WORD: i32 = 26;
const WIDTH: usize = 32;
const HEADS: usize = 4;
const BATCH: usize = 32;

/// Multi-head self-attention, in which a place sees itself and those before (Vaswani et al. 2017).
fn attention<'g>(scope: &Scope<'g>, x: Tensor<'g>, rows: usize) -> Tensor<'g> {
    let heads = |name: &str| {
        let heads = scope.scope(name).linear(x, WIDTH);
        heads.reshape([rows, CONTEXT, HEADS, WIDTH / HEADS]).transpose(&[0, 2, 1, 3])
    };
    let (query, key, value) = (heads("query"), heads("key"), heads("value"));
    let scores = query.matmul_with(key, false, true) / ((WIDTH / HEADS) as f32).sqrt();
    let mixed = scores.causal_mask().softmax().matmul(value).transpose(&[0, 2, 1, 3]);
    scope.scope("output").linear(mixed.reshape([rows, CONTEXT, WIDTH]), WIDTH)
}

/// Tokens `[rows, CONTEXT]` to logits of each place's next token, `[rows, CONTEXT, VOCABULARY]`.
fn model<'g>(graph: &'g Graph, rows: usize, dropout: f32) -> Tensor<'g> {
    let tokens = graph.placeholder("tokens", [rows, CONTEXT], DType::I32);
    let small = Initializer::Normal { mean: 0.0, stddev: 0.02 };
    let places = graph.variable("places", [CONTEXT, WIDTH], small);
    let mut x = graph.scope("letters").embedding(tokens, VOCABULARY, WIDTH) + places;
    for block in ["block_1", "block_2"] {
        let scope = graph.scope(block);
        let normed = scope.scope("norm_1").layer_norm(x, 1e-5);
        let seen = attention(&scope.scope("attention"), normed, rows);
        x = x + seen.dropout(&scope.name("attention"), dropout);
        let normed = scope.scope("norm_2").layer_norm(x, 1e-5);
        let hidden = scope.scope("fc1").linear(normed, 4 * WIDTH).gelu();
        let thought = scope.scope("fc2").linear(hidden, WIDTH);
        x = x + thought.dropout(&scope.name("fc2"), dropout);
    }
    graph.scope("logits").linear(graph.scope("norm").layer_norm(x, 1e-5), VOCABULARY)
}

type Word = [i32; LETTERS];
const ALPHABET: &[u8; VOCABULARY] = b"abcdefghijklmnopqrstuvwxyz>";

/// So many words of random letters.
fn words(count: u64, purpose: &str) -> Vec<Word> {
    let random = Philox::new(7, purpose);
    let letter = |at: u64| (random.word(at) % 26) as i32;
    let first = (0..count).map(|word| word * LETTERS as u64);
    first.map(|first| std::array::from_fn(|at| letter(first + at as u64))).collect()
}

/// What the model reads of a word while it is trained, and what it is to answer.
fn lesson(word: Word) -> ([i32; CONTEXT], Word) {
    let mut answer = word;
    answer.reverse();
    let mut tokens = [END_OF_WORD; CONTEXT];
    tokens[..LETTERS].copy_from_slice(&word);
    tokens[LETTERS + 1..].copy_from_slice(&answer[..LETTERS - 1]);
    (tokens, answer)
}

/// What the model makes of words: the likeliest letter, which it reads with the rest for the next.
fn spell_backwards(session: &mut Session, words: &[Word]) -> Result<Vec<Word>, Box<dyn Error>> {
    let graph = Graph::new();
    let likeliest = model(&graph, words.len(), 0.0).argmax();
    let plan = session.compile(&graph, &[likeliest], &[])?;
    let mut answers = vec![[END_OF_WORD; LETTERS]; words.len()];
    for at in 0..LETTERS {
        // What is not answered yet makes no difference: no place sees what is behind it.
        let read = words.iter().zip(&answers).map(|(word, answer)| {
            let tokens = word.iter().chain([&END_OF_WORD]).chain(answer);
            tokens.copied().take(CONTEXT)
        });
        let tokens: Vec<i32> = read.flatten().collect();
        let next = session.run(&plan, &[("tokens", (&tokens).into())])?.i32s(likeliest)?;
        let next = next.chunks(CONTEXT).map(|next| next[LETTERS + at]);
        answers.iter_mut().zip(next).for_each(|(answer, next)| answer[at] = next);
    }
    Ok(answers)
}

fn text(word: &Word) -> String {
    word.iter().map(|&letter| char::from(ALPHABET[letter as usize])).collect()
}

fn spelled(word: &str) -> Word {
    std::array::from_fn(|at| i32::from(word.as_bytes()[at] - ALPHABET[0]))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (steps, directory) = arguments("transformer", 200, "runs/transformer");
    let graph = Graph::new();
    let answers = graph.placeholder("answers", [BATCH, LETTERS], DType::I32);
    // Only the places that answer count: the letters of the word itself cannot be foreseen.
    let logits = model(&graph, BATCH, 0.1).slice(1, LETTERS, CONTEXT);
    let logits = logits.reshape([BATCH * LETTERS, VOCABULARY]);
    let loss = logits.softmax_cross_entropy(answers.reshape([BATCH * LETTERS]));
    let rate = Schedule::cosine(3e-3, 1e-4, steps.saturating_sub(20)).warm_up(20);
    let optimizer = Optimizer::adamw(rate)
        .no_decay(&["bias", "places", "**/norm*/weight"])
        .clip_global_norm(1.0);
    let step = optimizer.minimize(loss);

    let gpu = Gpu::new()?;
    let mut session = Session::new(&gpu);
    let train = session.compile(&graph, &[loss], &[step.update])?;
    let plan = Training::new(&directory).steps(steps).seed(7).save_every(50);
    let mut run = plan.begin(&mut session, &graph, &optimizer)?;
    println!("{}", run.begun());
    let lessons = words(4096, "training").into_iter().map(lesson);
    let (tokens, answers): (Vec<_>, Vec<_>) = lessons.unzip();
    let columns =
        [("tokens", tokens.as_flattened().into()), ("answers", answers.as_flattened().into())];
    let on_device = DeviceDataset::new(&gpu, tokens.len(), &columns)?;
    let mut batches = Batches::new(tokens.len(), BATCH, run.seed())?;
    while let Some(steps) = run.next_steps(20) {
        let rows = batches.indices_of(steps);
        let outputs = session.run_steps(&train, &Steps::rows(&on_device, &rows))?;
        run.record_steps(&session, &outputs, loss)?;
    }
    run.finish(&session)?;

    // None of them it was trained on: words of English, and many more of random letters.
    let mut test: Vec<Word> = ["stressed", "rewarder", "computer"].map(spelled).to_vec();
    let english = test.len();
    test.extend(words(253, "test"));
    let found = spell_backwards(&mut session, &test)?;
    for (word, found) in test.iter().zip(&found).take(english) {
        println!("{} → {}", text(word), text(found));
    }
    let right = test.iter().zip(&found).filter(|(word, found)| lesson(**word).1 == **found);
    println!("{} of {} words are spelled backwards without a mistake", right.count(), test.len());
    Ok(())
}
