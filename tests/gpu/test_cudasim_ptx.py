"""The emulator's translator: PTX text → C."""

import pytest
from cudasim.ptx2c import translate
from cudasim.ptx2c.parser import PtxError, parse_declaration, parse_module, split_operands

KERNEL = """
.version 9.0
.target sm_80
.address_size 64
.visible .entry scale(.param .u64 scale_param_0, .param .f32 scale_param_1)
{
    .reg .pred %p<2>;
    .reg .f32 %f<3>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [scale_param_0];  // the array
    ld.param.f32 %f1, [scale_param_1];
    setp.gt.f32 %p1, %f1, 0f00000000;
    @%p1 bra $L__positive;
    BODY
$L__positive:
    ret;
}
"""


def test_declarations():
    (array,) = parse_declaration(".shared .align 16 .b8 tile[4][8]")
    assert (array.space, array.align, array.size) == ("shared", 16, 32)
    (registers,) = parse_declaration(".reg .b32 %r<7>")
    assert (registers.name, registers.count) == ("%r", 7)
    table, other = parse_declaration(".const .align 4 .u32 table[2] , other")
    assert (table.size, other.size) == (8, 4)
    (pointer,) = parse_declaration(".param .u64 .ptr .global .align 16 p")
    assert (pointer.space, pointer.align) == ("param", 8), "an alignment behind .ptr is that of the pointee"
    with pytest.raises(PtxError, match="not a declaration"):
        parse_declaration(".reg %r1")


def test_operands_are_split_outside_brackets():
    assert split_operands("{%f1, %f2}, [%rd1+4], (a, b)") == ["{%f1, %f2}", "[%rd1+4]", "(a, b)"]


def test_instructions_know_their_parts():
    module = parse_module(
        KERNEL.replace("BODY", "ld.volatile.global.v4.f32 {%f1, %f1, %f1, %f1}, [%rd1+16];")
    )
    load = next(
        i for i in module.functions["scale"].body.items if getattr(i, "text", "").startswith("ld.volatile")
    )
    assert (load.opcode, load.space, load.type, load.lanes) == ("ld", "global", "f32", 4)
    branch = next(i for i in module.functions["scale"].body.items if getattr(i, "opcode", "") == "bra")
    assert branch.guard == "%p1"


def test_memory_is_accessed_through_checks_only():
    source = translate(KERNEL.replace("BODY", "st.global.f32 [%rd1+8], %f1;"))
    assert 'global_address(t, (u64)(R_rd1) + 8, 4, "st.global")' in source


def test_a_kernel_waits_only_if_it_or_a_callee_does():
    plain, waiting = (translate(KERNEL.replace("BODY", body)) for body in ("", "bar.sync 0;"))
    assert "B_scale, 0" in plain
    assert "0, T_scale" in waiting


def test_an_unknown_instruction_traps_where_it_is_reached(capsys):
    source = translate(KERNEL.replace("BODY", "wgmma.mma_async %f1, %f2;"))
    assert 'trap(t, "unsupported instruction: wgmma.mma_async %f1, %f2")' in source
    assert "no such instruction" in capsys.readouterr().err


def test_text_that_is_no_ptx_is_an_error():
    with pytest.raises(PtxError):
        translate(KERNEL.replace("BODY", "{ unclosed;"))
