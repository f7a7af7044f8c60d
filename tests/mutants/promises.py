"""Planted bugs of the checks in docs/trust.md that no other row would show to fail."""

from tests.mutants.runner import Mutant

EXACT, STATE, FILES = "trust/test_exact.py", "trust/test_state.py", "trust/test_files.py"

PROMISES = (
    Mutant(
        bug="rows are centred on the batch they came in",
        file="harsanyi/parts/gated.py",
        source="z = self.encoder(x)",
        replacement="z = self.encoder(x - x.mean(0))",
        test=f"{EXACT}::test_a_row_alone_is_the_row_in_a_batch_in_float64",
    ),
    Mutant(
        bug="a stream's key is salted by the process",
        file="baselines/coalitions.py",
        source="        return 0\n    if not isinstance(generator, torch.Generator):",
        replacement="        return abs(hash('key'))\n    if not isinstance(generator, torch.Generator):",
        test=f"{STATE}::test_the_same_seed_gives_the_same_bits_in_two_processes",
    ),
    Mutant(
        bug="torch's own stream is not given back",
        file="baselines/randomness.py",
        source="torch.random.fork_rng(devices=[])",
        replacement="torch.random.fork_rng(devices=[], enabled=False)",
        test=f"{STATE}::test_a_public_call_moves_no_global_random_state[lex]",
    ),
    Mutant(
        bug="parts of a float64 net add up in float32",
        file="harsanyi/net.py",
        source="wide = torch.promote_types(dtype, torch.float32)",
        replacement="wide = torch.float32",
        test="trust/test_numerics.py::test_values_equal_enumeration_in_every_precision[dtype0]",
    ),
    Mutant(
        bug="a pair of orders is begun that the budget does not pay for",
        file="baselines/sampling.py",
        source="wanted = (budget - 2) // cost if cost else 1",
        replacement="wanted = -(-(budget - 2) // cost) if cost else 1",
        test="test_estimators.py::test_efficient_at_every_budget_and_never_beyond_it",
    ),
    Mutant(
        bug="a bug that breaks the import counts as caught",
        file="tests/mutants/runner.py",
        source="return Verdict(code == ALL_FAILED and ",
        replacement="return Verdict(code != ALL_PASSED or ",
        test="test_mutants.py::test_a_bug_that_breaks_the_import_is_not_called_caught",
    ),
    Mutant(
        bug="a frame of another width is taken for that of the fit",
        file="harsanyi/rows.py",
        source='estimator, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan"',
        replacement='estimator, X, reset=True, dtype=np.float64, ensure_all_finite="allow-nan"',
        test="test_harsanyi_estimator.py::test_estimators_pass_the_checks_of_scikit_learn",
    ),
    Mutant(
        bug="each of two processes follows its own gradients",
        file="baselines/training_run.py",
        source="        if self.world > 1:\n            value = self.average(value)",
        replacement="        if self.world > 2:\n            value = self.average(value)",
        test="test_training.py::test_two_processes_train_as_one",
    ),
    Mutant(
        bug="a table is unpickled",
        file="bench/frames.py",
        source="return pd.read_parquet(path)",
        replacement="return pd.read_pickle(path)",
        test=f"{FILES}::test_no_call_can_run_what_a_file_says[bench]",
    ),
    Mutant(
        bug="a tokenizer may bring code of its own",
        file="baselines/text_loading.py",
        source="AutoTokenizer.from_pretrained(name_or_dir)",
        replacement="AutoTokenizer.from_pretrained(name_or_dir, trust_remote_code=True)",
        test=f"{FILES}::test_no_call_can_run_what_a_file_says[baselines]",
    ),
    Mutant(
        bug="every file passes through one name in the temporary folder",
        file="baselines/files.py",
        source='target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")',
        replacement='Path("/tmp/harsanyi.tmp")',
        test=f"{FILES}::test_temporary_files_have_no_fixed_names[baselines]",
    ),
    Mutant(
        bug="every call leaves forty kilobytes behind",
        file="harsanyi/net.py",
        source="        step = max_rows or self.max_rows\n",
        replacement="        step = max_rows or self.max_rows\n"
        '        self.__dict__.setdefault("seen", []).append(x.repeat(100, 1))\n',
        test="trust/test_load.py::test_a_thousand_calls_take_no_more_memory[net]",
    ),
    Mutant(
        bug="importing us imports scipy's statistics",
        file="baselines/__init__.py",
        source="from importlib import import_module\n",
        replacement="from importlib import import_module\n\nimport scipy.stats\n",
        test="test_floors.py::test_importing_harsanyi_and_baselines_loads_no_heavy_library",
    ),
    Mutant(
        bug="the suites of speed travel in the wheel",
        file="pyproject.toml",
        source='exclude = ["bench/speed"]\n\n[tool.hatch',
        replacement="exclude = []\n\n[tool.hatch",
        test="test_packaging.py::test_wheel_holds_four_typed_packages_and_nothing_else",
    ),
    Mutant(
        bug="an action is pinned by a name that can be moved",
        file=".github/workflows/release.yml",
        source="actions/download-artifact@fa0a91b85d4f404e444e00e005971372dc801d16",
        replacement="actions/download-artifact@v4",
        test="trust/test_house.py::test_every_action_is_pinned_by_hash[release]",
    ),
    Mutant(
        bug="an argument goes unsaid",
        file="baselines/sampling.py",
        source="chunk_size: Coalitions asked for at once; changes no mask, and values by rounding only.",
        replacement="Rounding only.",
        test="trust/test_house.py::test_every_public_name_says_what_it_takes[baselines]",
    ),
    Mutant(
        bug="a public module's types are checked no further than anyone's",
        file="pyproject.toml",
        source='    "harsanyi/maxsim.py",\n',
        replacement="",
        test="trust/test_house.py::test_what_holds_a_public_name_is_checked_strictly[harsanyi]",
    ),
)
