"""Collectives are counted from a program's text: their kinds and bytes, and as often as their loops turn."""

from experiments.costs.collectives import collectives

TEXT = """HloModule jit_update

%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(f32[] %a, f32[] %b)
}

%body (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %gathered = bf16[8,16]{1,0} all-gather(bf16[8,4]{1,0} %x), replica_groups=[2,4]<=[8], dimensions={1}
  ROOT %t = (s32[], f32[8,4]) tuple(%i, %y)
}

%inner (p: f32[4]) -> f32[4] {
  %moved = f32[4]{0} collective-permute(f32[4]{0} %p), source_target_pairs={{0,1},{1,0}}
}

ENTRY %main (p: f32[8,4]) -> f32[8,4] {
  %w = (s32[], f32[8,4]) while(%t), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %both = (f32[8,4]{1,0}, f32[2]{0}) all-reduce(f32[8,4] %a, f32[2] %b), replica_groups={{0,1,2,3}}, to_apply=%sum
  %part = f32[2,4]{1,0} reduce-scatter(f32[8,4]{1,0} %a), replica_groups={{0,1,2,3}}, dimensions={0}, to_apply=%sum
  %f = f32[4]{0} fusion(f32[4]{0} %q), kind=kLoop, calls=%inner
  %s = (f32[2]{0}, f32[8]{0}) all-gather-start(f32[2]{0} %z), replica_groups={{0,1,2,3}}
  ROOT %r = f32[8,4]{1,0} get-tuple-element(%w), index=1
}
"""


def test_bytes_are_those_of_results_times_the_turns_of_loops():
    assert collectives(TEXT) == {
        "all-gather": (3 + 1, 3 * 2 * 8 * 16 + 4 * 8),
        "all-reduce": (1, 4 * (32 + 2)),
        "reduce-scatter": (1, 4 * 8 * 4),
        "collective-permute": (1, 16),
    }


def test_a_program_of_one_device_has_none():
    assert collectives("ENTRY %main (p: f32[2]) -> f32[2] {\n  ROOT %r = f32[2]{0} add(%p, %p)\n}\n") == {}
