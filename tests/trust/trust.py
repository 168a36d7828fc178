"""What this project promises of faults, hostile files and privacy, and the tests that hold it to that: ``make trust``.

Ends with a line per promise: how many tests passed, failed or were skipped. Some need a cluster: make cluster-up.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Promise:
    """A promise, and the tests of it by file and name, relative to the folder of tests."""

    words: str
    tests: tuple[str, ...]


PROMISES = (
    # Kills and resuming.
    Promise(
        "a pack that is killed leaves no store; the next one gives the bytes of an undisturbed one",
        ("cohort/test_pack_faults.py::test_a_pack_that_is_killed_leaves_nothing_that_looks_whole",),
    ),
    Promise(
        "a kill at any moment leaves checkpoints, predictions and tables that can be read",
        ("kills/test_kills.py::test_a_sample_of_kills_loses_nothing",),
    ),
    Promise(
        "killed after the first, a middle or the last round but one, a task comes to the same hashes",
        (
            "training/test_interrupted.py::test_kills_after_the_first_a_middle_and_the_last_validation_but_one_change_no_bit",
            "training/test_task.py::test_ten_kills_change_no_prediction",
        ),
    ),
    Promise(
        "a warning to any process, a preemption or a limit ends in a requeue or a resumable failure, never in success",
        (
            "training/test_interrupted.py::test_a_task_of_two_processes_is_requeued_whichever_of_them_is_warned",
            "training/test_interrupted.py::test_without_a_launcher_the_process_that_is_signalled_is_named_and_nothing_is_done",
            "training/test_stop.py::test_a_stopped_task_resumes_as_if_nothing_had_happened",
            "training/test_nodes.py::test_nodes_stop_together",
            "cluster/test_launch.py::test_a_warning_that_never_comes_is_given_by_the_launcher_itself",
            "cluster/faults/test_sample.py::test_a_sample_of_the_campaign_loses_nothing",
        ),
    ),
    Promise(
        "where one process of a task is killed its peers end and the fold has failed",
        (
            "training/test_faults.py::test_a_killed_process_fails_the_task_and_its_peers_end",
            "training/test_nodes.py::test_the_first_node_says_that_another_was_lost",
        ),
    ),
    Promise(
        "of a damaged checkpoint is told; the one before it serves, or the start",
        (
            "training/test_checkpoint.py::test_a_damaged_one_is_named_and_the_older_one_serves",
            "training/test_checkpoint.py::test_damaged_later_ones_do_not_crowd_out_the_newest",
            "training/test_task.py::test_a_damaged_newest_checkpoint_costs_one_round_and_nothing_else",
        ),
    ),
    Promise(
        "what killed writers left is cleaned away",
        (
            "test_files.py::test_what_a_killed_writer_left_is_removed_and_nothing_else",
            "test_state.py::test_what_killed_writers_left_is_removed_and_nothing_of_a_newer_attempt",
            "test_runs.py::test_a_folder_whose_maker_was_killed_before_the_plan_was_there_is_taken",
            "cluster/test_launch.py::test_a_result_that_a_kill_left_half_written_is_removed",
            "cluster/test_freeze.py::test_a_killed_freeze_leaves_nothing_for_good",
        ),
    ),
    Promise(
        "nothing resumes under other settings, another store or another split",
        (
            "training/test_checkpoint.py::test_one_of_other_settings_is_refused",
            "training/test_task.py::test_a_store_changed_since_the_plan_is_refused",
            "test_store.py::test_a_store_changed_since_the_plan_is_refused",
        ),
    ),
    # Disks.
    Promise(
        "on a full disk every writer fails and leaves what was there",
        (
            "test_full_disk.py",
            "cohort/test_pack_faults.py::test_a_full_disk_is_one_line_and_leaves_nothing",
            "training/test_faults.py::test_a_checkpoint_that_cannot_be_written_fails_the_task_and_keeps_what_is_there",
            "training/test_faults.py::test_a_disk_too_full_for_tensorboard_fails_the_task_and_keeps_its_checkpoints",
        ),
    ),
    Promise(
        "a folder that may not be written, a missing store and a failing disk are told in two lines",
        ("test_failing_disk.py", "cohort/test_pack_faults.py::test_a_read_only_folder_is_one_line"),
    ),
    Promise(
        "the reducer waits for results that a file server shows late, and then calls them missing",
        ("results/test_late.py",),
    ),
    # Once, and one at a time.
    Promise(
        "the same submission again finds nothing to do and says which run",
        ("cluster/real/test_study.py::test_the_same_command_again_finds_nothing_to_do",),
    ),
    Promise(
        "a job that Slurm took although sbatch failed is found by its name",
        (
            "cluster/test_sbatch.py::test_a_job_that_slurm_took_in_spite_of_an_error_is_found_by_its_name",
            "cluster/test_sbatch.py::test_a_submission_that_was_killed_is_settled_by_the_next",
        ),
    ),
    Promise(
        "of two packs, plans, submissions, reducers or claims one wins",
        (
            "test_at_once.py",
            "cohort/test_pack_faults.py::test_of_two_packs_at_once_the_later_wins_and_the_other_says_so",
            "test_state.py::test_many_claims_at_once_get_a_number_each",
            "cluster/test_submit.py::test_two_at_once_submit_every_task_once",
        ),
    ),
    Promise(
        "a missing, failed or foreign fold is told by the exit code and at every table",
        (
            "results/test_reduce.py::test_a_missing_fold_is_named_and_marks_every_total",
            "results/test_reduce.py::test_unusable_predictions_are_missing_with_their_reason",
            "results/test_reduce.py::test_a_fold_that_started_from_other_weights_than_most_is_missing",
            "results/test_show.py::test_a_partial_study_says_so_at_every_table_and_names_the_fold",
        ),
    ),
    Promise(
        "reducing twice gives the same bytes",
        ("results/test_reduce.py::test_reducing_twice_gives_the_same_bytes_and_needs_predictions_only",),
    ),
    Promise(
        "one patient is refused; one task and a thousand are submitted",
        (
            "test_cli_designs.py::test_what_cannot_be_planned_is_refused_in_two_lines_at_most",
            "cluster/test_submit.py::test_a_single_task_is_a_job_of_its_own",
            "cluster/test_submit.py::test_arrays_are_split_at_the_size_that_slurm_allows",
            "test_thousand_tasks.py",
        ),
    ),
    # Hostile files.
    Promise(
        "an image is measured before it is decoded",
        (
            "cohort/test_images.py::test_a_huge_image_is_refused_before_it_is_decoded",
            "cohort/test_images.py::test_a_compressed_bomb_in_a_small_tiff_is_refused",
        ),
    ),
    Promise(
        "whatever an image file holds, its pixels are defined or it is listed with a reason",
        (
            "cohort/test_images.py",
            "cohort/test_pack.py::test_unusable_files_are_listed_with_their_reason_and_the_rest_is_packed",
        ),
    ),
    Promise(
        "a store that pack would not write is refused, and nothing beside it is opened",
        ("test_schema.py", "test_trial.py"),
    ),
    Promise(
        "identifiers stay distinct and leave no folder, or are refused",
        ("cohort/test_identifiers.py", "cohort/test_sheet.py::test_values_stay_text_in_every_dialect"),
    ),
    Promise(
        "no spreadsheet runs a cell of a table",
        (
            "results/test_tables.py::test_text_that_a_spreadsheet_would_run_gets_a_quotation_mark",
            "results/test_tables.py::test_hostile_names_values_and_headings_run_nothing_in_any_table",
            "results/test_tables.py::test_negative_numbers_stay_numbers",
            "cohort/test_pack.py::test_a_file_that_a_spreadsheet_would_run_is_quoted_in_the_list",
            "test_predictions.py::test_a_name_that_a_spreadsheet_would_run_is_quoted_and_read_back",
        ),
    ),
    Promise(
        "no checkpoint, weights, settings or pickle of others is run",
        (
            "training/test_checkpoint.py::test_a_checkpoint_that_would_run_code_is_not_run",
            "training/test_weights.py::test_weights_that_would_run_code_are_refused",
            "test_config.py::test_settings_of_an_adversary_are_one_line_and_nothing_is_run",
            "test_embeddings.py::test_an_array_of_objects_is_not_unpickled",
            "cluster/test_sbatch.py::test_a_pickle_that_others_can_write_is_never_run",
            "cluster/test_launch.py::test_nothing_is_run_that_others_can_write",
            "training/test_ddp.py::test_nothing_that_a_peer_sends_is_unpickled",
        ),
    ),
    Promise(
        "identifiers and settings stay the text that they are",
        (
            "test_config.py::test_what_looks_like_a_number_or_a_truth_stays_text",
            "cohort/test_sheet.py::test_values_stay_text_in_every_dialect",
        ),
    ),
    # Privacy.
    Promise(
        "a name planted everywhere is found nowhere under a key, and without one only where its owner alone reads",
        (
            "test_privacy.py::test_the_search_itself_finds_a_name_however_it_is_written",
            "test_privacy.py::test_under_a_key_the_name_is_nowhere",
            "test_privacy.py::test_without_a_key_the_name_is_in_store_plan_predictions_and_results_alone",
            "cluster/real/test_study.py::test_under_a_key_no_patient_is_named_anywhere",
            "cluster/real/test_study.py::test_no_patient_is_named_where_others_look",
        ),
    ),
    Promise(
        "whatever the umask, folders and files are their owner's alone",
        (
            "test_privacy.py::test_every_file_and_folder_is_the_owners_alone",
            "test_access.py::test_what_is_written_is_for_the_owner_alone_whatever_the_umask",
            "cluster/test_submit.py::test_nothing_of_a_submission_is_for_other_eyes",
        ),
    ),
    Promise(
        "the key is in no file, argument or environment; another key, and one that others can read, is refused",
        (
            "test_privacy.py::test_the_key_is_in_no_file_no_argument_and_no_environment",
            "cohort/test_pseudonyms.py::test_a_store_is_not_replaced_under_another_key_or_by_names",
            "cohort/test_pseudonyms.py::test_a_key_that_others_may_read_or_write_is_refused",
        ),
    ),
    Promise(
        "event files hold no image of a cell and no name",
        (
            "test_privacy.py::test_event_files_hold_no_image_of_a_cell",
            "results/test_boards.py::test_no_patient_and_no_machine_is_named",
        ),
    ),
    Promise(
        "no process of a study tries to leave the machine",
        ("test_privacy.py::test_no_process_of_a_study_tries_to_leave_the_machine",),
    ),
)


@dataclass(eq=False)
class Outcomes:
    """What came of each test, as a plugin of pytest hears it."""

    found: dict[str, str] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.found[report.nodeid] = report.outcome

    def of(self, promise: Promise) -> Counter[str]:
        """Count the outcomes of a promise's tests."""
        starts = tuple(f"tests/{test}" for test in promise.tests)
        return Counter(outcome for name, outcome in self.found.items() if name.startswith(starts))


def main(numbers: Sequence[int]) -> int:
    """Test the promises of these numbers, or all, and print what came of each."""
    chosen = {n: promise for n, promise in enumerate(PROMISES, 1) if not numbers or n in numbers}
    outcomes = Outcomes()
    tests = dict.fromkeys(test for promise in chosen.values() for test in promise.tests)
    code = pytest.main(["-q", f"--rootdir={TESTS.parent}", *(str(TESTS / test) for test in tests)], [outcomes])
    for number, promise in chosen.items():
        counts = outcomes.of(promise)
        said = ", ".join(
            f"{counts[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped") if counts[outcome]
        )
        print(f"{number:>2}  {said or 'NOT RUN':<22}  {promise.words}")
    return int(code) or int(not all(map(outcomes.of, chosen.values())))


if __name__ == "__main__":
    sys.exit(main([int(number) for number in sys.argv[1:]]))
