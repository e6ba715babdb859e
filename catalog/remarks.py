"""Words beside an examination that change nothing about it: what may stand in a description unknown.

A title also holds remarks that name other examinations or parts: an earlier film it was compared with, the illness
that is suspected, what was ordered first. They say nothing of what was done.
"""

import re
from typing import Final

# Words that name nothing examined: where no body part was recognised, only these may stand beside what was.
FILLERS: Final = (
    "检查|扫描|门诊|住院|急诊|急|体检|健康|年度|入职|职业|复查|随访|常规|普通|部位|一次|首次|单次|多次|薄层|层厚|排|层|床旁|床边"
    "|便携|数字化?|摄影|摄像|成像|图像|影像|三维|二维|后处理|冠状位?|矢状位?|横断位?|轴状位|病房|自费|医保|公费|加急|绿色通道"
    "|放射科|影像科|科室|科|及|并|的|做|行|个|号|型|次|年|月|日|天|男|女|性|岁|成人|儿童|小儿|新生儿|患者|项目|类|主机|机房|室"
)
_ENGLISH: Final = (
    "ABOVE ADAPTIVE ADULT ADULTS AFTER AND AXIAL BED BEDSIDE BEFORE BEST BODY BREATH CARDIO CHECKUP CHILD CINE CLINIC CORONAL COUGH"
    " DEFAULT DIAST DIASTOLE DIGITAL DRY EMERGENCY EOVIST EXAM EXAMINATION FAST FEMALE FEVER FOLLOW FOR FRACTURE FUNCTION FUSION"
    " GADOVIST GATED GENERAL HELICAL HIGH HOLD HOSPITAL IMAGING INJURY INPATIENT JOINT LEVEL LIBRARY LOW MALE MASS METASTASIS MIP MLO OPD IPD UHR ICU ADC FOV FBP"
    " MOBILE MPR MULTI NEURO NODULE NODULES NORMAL ONCOLOGY ORAL ORTHO OUTPATIENT PAIN PEDIATRIC PERFORM PLANE PLUS PORTABLE PRIMOVIST"
    " PROCEDURE PROSPECTIVE PROTOCOL QUICK RECON RECONSTRUCTION REGULAR REPEAT RESOLUTION RETROSPECTIVE ROOM ROUTINE SAGITTAL SCAN"
    " SEPARATE SEQ SEQUENCE SERIES SHOOT SLAB SLICE SLICES SMART SOFT SPECIALS SPIRAL STANDARD STAT STD STEP STND STROKE STUDY SYST"
    " SYSTOLE TECHNIQUE THE THICK THIN TISSUE TRANSVERSE TRAUMA TUMOR TUMOUR ULTRA UPPER URGENT USER VASCULAR VERSION VOL VOLUME WARD"
    " WHOLE WITH"
)  # fmt: skip
ENGLISH_FILLERS: Final = frozenset(_ENGLISH.split())

# What may follow a part named by one character without making it another part (头外伤, but not 髋臼).
REMARKS: Final = "血管|动脉|静脉|全程|全长|一站式|电影|特异期|特异性|肝胆期|外伤|损伤|挫伤|骨折|出血|积水|积液|炎|癌|瘤|肿瘤|肿块|肿物|占位|结节|囊肿|结石|感染|转移|梗|结核|发热|疼痛|痛|不适|晕|待查|查体|增厚|异常"

_COMPARED: Final = re.compile(
    r"[(](?![^()]*(?:会诊|读片|阅片))[^()]*(?:对比(?!剂)|比较|前片|旧片|COMPARE|PRIOR)[^()]*[)]"
)
_CLAUSE: Final = re.compile(r"[^ ,;。]+")
_SUSPECTED: Final = re.compile(r"待[排查诊]|排除|除外|术[前后]|病史|史$|[?]$")
_AMENDED: Final = re.compile(r"原[开定拟单]|改[为行做成]|改(?:平扫|增强)|拒绝|过敏|未[做行]")


def without_comparison(text: str) -> str:
    """Return a normalised text without what it says in brackets of other films."""
    return _COMPARED.sub(" ", text)


def without_suspicion(text: str) -> str:
    """Return a normalised text without the clauses that name an illness or its history."""
    return _CLAUSE.sub(lambda clause: "" if _SUSPECTED.search(clause[0]) else clause[0], text)


def is_amended(text: str) -> bool:
    """Say whether a normalised text tells that something else was ordered or wanted at first."""
    return bool(_AMENDED.search(text))
