"""The table of checks: what is promised, within what, which tests hold it, which bug they caught."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One promise.

    Args:
        number: Its place in the table.
        law: What holds.
        threshold: Within what.
        tests: Tests that hold it, files or single tests under `tests/`.
        bug: A planted bug (its words in `tests/mutants/`) that they catch: the bug's own test where
            the check names it, else the first one here.
        elsewhere: What only another machine can check, and where it is checked.
    """

    number: int
    law: str
    threshold: str
    tests: tuple[str, ...]
    bug: str
    elsewhere: str = ""


EXACT, STATE, FILES = "trust/test_exact.py", "trust/test_state.py", "trust/test_files.py"
LOAD, NUMERICS, HOUSE = "trust/test_load.py", "trust/test_numerics.py", "trust/test_house.py"

CHECKS = (
    Check(
        1,
        "Values and base add up to the output, 1,000 rows, all outputs",
        "float64 1e-12, float32 1e-5, bfloat16 2e-2",
        (
            f"{EXACT}::test_values_add_up_on_a_thousand_rows_in_float64",
            f"{EXACT}::test_values_add_up_on_a_thousand_rows_in_float32",
            f"{EXACT}::test_values_add_up_on_a_thousand_rows_in_bfloat16",
            f"{EXACT}::test_the_default_recipe_adds_up",
        ),
        "a unit's dividend is not shared among its field",
    ),
    Check(
        2,
        "Values and interactions up to order 3 equal enumeration, 50 random nets",
        "1e-10 (FSII 1e-8)",
        (
            f"{EXACT}::test_random_nets_equal_enumeration",
            f"{EXACT}::test_interactions_of_random_nets_follow_from_enumerated_dividends",
            "test_dividends.py",
        ),
        "a unit with one member missing stays on",
    ),
    Check(
        3,
        "Dummy, symmetry, linearity, efficiency: 200 cases each",
        "exact 0 for a dummy, else 1e-12",
        (
            f"{EXACT}::test_values_add_up_for_every_net",
            f"{EXACT}::test_an_absent_player_gets_exactly_nothing",
            f"{EXACT}::test_renaming_players_renames_their_values_and_nothing_else",
            f"{EXACT}::test_players_that_are_alike_get_the_same",
            f"{EXACT}::test_values_of_a_sum_of_nets_are_the_sum_of_their_values",
        ),
        bug="a unit's dividend is not shared among its field",
    ),
    Check(
        4,
        "Coalitions that no unit names have no dividend",
        "1e-12",
        (f"{EXACT}::test_only_named_coalitions_have_dividends",),
        bug="a unit with one member missing stays on",
    ),
    Check(
        5,
        "A row alone, in a batch, shuffled, padded: the same",
        "float64 1e-12, float32 1e-5",
        (
            f"{EXACT}::test_a_row_alone_is_the_row_in_a_batch_in_float64",
            f"{EXACT}::test_a_row_alone_is_the_row_in_a_batch_in_float32",
            "test_estimators.py::test_padding_players_score_zero_and_real_ones_as_if_alone",
        ),
        bug="rows are centred on the batch they came in",
    ),
    Check(
        6,
        "The same seed gives the same bits, in two processes",
        "bitwise",
        (f"{STATE}::test_the_same_seed_gives_the_same_bits_in_two_processes",),
        bug="a stream's key is salted by the process",
    ),
    Check(
        7,
        "No public call moves a global random state",
        "equal before and after",
        (
            f"{STATE}::test_a_public_call_moves_no_global_random_state",
            f"{STATE}::test_fitting_and_explaining_move_no_global_random_state",
        ),
        bug="torch's own stream is not given back",
    ),
    Check(
        8,
        "Save, new process, load, explain, three times; stray or missing weights are refused",
        "bitwise",
        (
            f"{STATE}::test_a_model_comes_back_three_times_in_new_processes",
            f"{STATE}::test_unknown_or_missing_weights_are_refused",
            "test_pretrained.py",
        ),
        bug="a file that lacks a weight is loaded",
    ),
    Check(
        9,
        "Every precision and device",
        "float64 1e-10, float32 1e-5, bfloat16 2e-2",
        (f"{NUMERICS}::test_values_equal_enumeration_in_every_precision",),
        bug="parts of a float64 net add up in float32",
        elsewhere="`pytest --device cuda` where there is one",
    ),
    Check(
        10,
        "Sampled estimators are unbiased, their intervals honest",
        "|z| <= 3.5, coverage 92 to 98 %",
        (
            "test_estimators.py::test_intervals_cover_at_a_hundred_pairs",
            "test_estimators.py::test_unbiased_where_claimed",
        ),
        bug="a standard error is a standard deviation",
    ),
    Check(
        11,
        "Error falls with the root of the budget",
        "slope of log error at most -0.35",
        ("test_estimators.py::test_error_falls_at_least_like_the_root_of_the_budget",),
        bug="every block of a stream draws the same numbers",
    ),
    Check(
        12,
        "No estimator asks more than its budget",
        "exactly",
        ("test_estimators.py::test_efficient_at_every_budget_and_never_beyond_it",),
        bug="a pair of orders is begun that the budget does not pay for",
    ),
    Check(
        13,
        "Planted bugs are caught",
        "all",
        ("test_mutants.py",),
        bug="a bug that breaks the import counts as caught",
    ),
    Check(
        14,
        "scikit-learn's own checks of estimators",
        "none fails without a reason, at most 3 with one",
        ("test_harsanyi_estimator.py::test_estimators_pass_the_checks_of_scikit_learn",),
        bug="a frame of another width is taken for that of the fit",
    ),
    Check(
        15,
        "Two processes train as one",
        "parameters within 1e-6",
        ("test_training.py::test_two_processes_train_as_one", "test_lex_gradients.py"),
        bug="each of two processes follows its own gradients",
    ),
    Check(
        16,
        "Killed (20 times each: shards, labels, judging), torn, stale, corrupt, missing: found, and "
        "the final table is the same bytes",
        "bitwise",
        (
            "test_shards.py",
            "test_labels.py::test_labels_killed_at_random_and_resumed_are_the_same_bits",
            "test_board_jobs.py::test_a_run_killed_at_any_moment_ends_in_the_same_leaderboard",
        ),
        bug="a checksum is written and never read",
    ),
    Check(
        17,
        "Training resumes from any checkpoint",
        "bitwise",
        (
            "test_training.py::test_a_run_stopped_at_any_step_resumes_to_the_same_bits",
            "test_training.py::test_a_killed_process_resumes_to_the_same_bits",
        ),
        bug="the optimizer forgets its state on resuming",
    ),
    Check(
        18,
        "Nothing is unpickled, evaluated or unpacked on any load path; malicious files are refused",
        "0 findings",
        (
            f"{FILES}::test_no_call_can_run_what_a_file_says",
            f"{FILES}::test_the_scan_sees_a_call_that_can",
            f"{FILES}::test_a_pickle_in_place_of_weights_is_refused_and_runs_nothing",
            f"{FILES}::test_a_pickle_in_place_of_an_explanation_is_refused_and_runs_nothing",
            f"{FILES}::test_a_table_that_is_a_pickle_is_refused_and_runs_nothing",
            f"{FILES}::test_a_config_of_unknown_kinds_is_refused_or_without_effect",
        ),
        bug="a table is unpickled",
    ),
    Check(
        19,
        "Nothing passes trust_remote_code; the tests run without a network",
        "0 uses",
        (f"{FILES}::test_no_call_can_run_what_a_file_says",),
        bug="a tokenizer may bring code of its own",
        elsewhere="tests/conftest.py sets the hub offline for every test",
    ),
    Check(
        20,
        "Reports escape names and texts and hold no outside address",
        "0 findings",
        (
            "test_report.py::test_names_are_words_and_never_markup",
            "test_report.py::test_the_page_holds_no_address",
        ),
        bug="the page does not escape names",
    ),
    Check(
        21,
        "No temporary file has a fixed name, nothing is unpacked",
        "0 findings",
        (f"{FILES}::test_temporary_files_have_no_fixed_names",),
        bug="every file passes through one name in the temporary folder",
    ),
    Check(
        22,
        "Bad input is a typed error that names the argument, or a right answer",
        "every reader, every end; never a silent NaN",
        (
            f"{FILES}::test_a_truncated_file_is_refused_wherever_it_ends",
            f"{FILES}::test_a_file_with_flipped_bytes_is_refused_with_a_typed_error_or_read",
            f"{NUMERICS}::test_columns_and_targets_of_extreme_scale_are_learned_and_explained",
            f"{NUMERICS}::test_columns_that_never_change_get_nothing",
            f"{NUMERICS}::test_a_thousand_classes_are_explained",
            f"{NUMERICS}::test_many_classes_are_fitted_and_explained",
            f"{NUMERICS}::test_infinite_cells_are_refused_by_name",
            "test_rough_tables.py",
        ),
        bug="the classes of a saved model are not signed",
    ),
    Check(
        23,
        "A thousand calls take no more memory; threads and pieces change nothing",
        "growth <= 1 %; streams under 512 MiB",
        (LOAD,),
        bug="every call leaves forty kilobytes behind",
    ),
    Check(
        24,
        "Importing us is as light as importing torch, guests stay out",
        "1.2 times torch",
        (
            f"{HOUSE}::test_importing_us_takes_little_more_than_importing_torch",
            "test_floors.py",
        ),
        bug="importing us imports scipy's statistics",
    ),
    Check(
        25,
        "Stored explanations of stored models come out again",
        "1e-6",
        ("trust/test_golden.py",),
        bug="a unit's dividend is not shared among its field",
    ),
    Check(
        26,
        "The wheel installs clean, typed, without tests or data",
        "1 MB",
        ("test_packaging.py",),
        bug="the suites of speed travel in the wheel",
        elsewhere="three systems and two Pythons: .github/workflows/ci.yml, job install",
    ),
    Check(
        27,
        "Dependencies pinned in CI, actions by hash, publishing without a token",
        "all",
        (
            f"{HOUSE}::test_every_action_is_pinned_by_hash",
            f"{HOUSE}::test_publishing_keeps_no_token",
            f"{HOUSE}::test_every_requirement_of_the_tests_is_pinned",
        ),
        bug="an action is pinned by a name that can be moved",
        elsewhere="known holes: .github/workflows/ci.yml, job audit",
    ),
    Check(
        28,
        "Types check, and every public name says what it takes",
        "0 errors",
        (
            f"{HOUSE}::test_every_public_name_says_what_it_takes",
            f"{HOUSE}::test_what_holds_a_public_name_is_checked_strictly",
        ),
        bug="an argument goes unsaid",
        elsewhere="pyright in `make lint`",
    ),
)
