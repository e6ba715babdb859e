"""Body parts: what Chinese, English and pinyin descriptions call them, and how they lie in one another.

Codes are the defined terms of PS3.16 Annex L where there is one. Parts on no list are here too, so that
their names are not taken for a listed part inside them (股骨头 is not 头, 胸锁关节 not 胸).
Words are separated by |; a space in an English word matches a space, hyphen, dot or nothing.
"""

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Part:
    """One body part; `stands_for` says, per kind of device, which listed part it is examined as."""

    code: str
    words: str
    within: tuple[str, ...] = ()
    stands_for: dict[str, str] = field(default_factory=dict)


_JOINT: Final = {"CT": "EXTREMITY"}
_LIMB: Final = ("EXTREMITY",)

PARTS: Final = (
    # Head
    Part(
        "HEAD",
        "头颅|头部|颅脑|颅内|大脑|脑部|脑(?![梗出外电干])|头(?![痛晕皮颈孢])|HEAD|HEADS|BRAIN|CRANIAL"
        "|CRANIUM|CEREBRAL|CEREBRUM|INTRACRANIAL|TOULU|TOUBU|LUNAO|NAOBU",
        stands_for={"XR": "SKULL"},
    ),
    Part(
        "CEREBRALVESSEL",
        "脑血管|脑动脉|脑静脉|静脉窦|CIRCLE OF WILLIS|CIRCLEOFWILLIS|COW|VENOUS SINUS|VENOUS SINUSES|DURAL SINUS",
        ("HEAD",),
    ),
    Part("SKULL", "颅骨|SKULL", ("HEAD",)),
    Part("SKULLBASE", "颅底|SKULL BASE", ("HEAD",)),
    Part(
        "SINUS",
        "副鼻窦|鼻旁窦|鼻窦|付鼻窦|PARANASAL SINUS|PARANASAL SINUSES|PARANASAL|SINUS|SINUSES|PNS|BIDOU|FUBIDOU",
        ("HEAD",),
    ),
    Part("EAR", "颞骨|中耳|乳突|耳部|双耳|EAR|EARS|TEMPORAL BONE|TEMPORAL BONES|MASTOID|MASTOIDS", ("HEAD",)),
    Part(
        "IAC",
        "内耳道|内听道|内耳|IAC|IACS|IAM|IAMS|INNER EAR|INNER EARS|INTERNAL AUDITORY CANAL"
        "|INTERNAL AUDITORY CANALS|INTERNAL AUDITORY MEATUS",
        ("HEAD", "EAR"),
        {"CT": "EAR"},
    ),
    Part("ORBIT", "眼眶|眶部|眼部|ORBIT|ORBITS|ORBITAL|EYE|EYES|YANKUANG", ("HEAD",)),
    Part("NOSE", "鼻骨|鼻部|NASAL BONE|NASAL BONES|NASAL|NOSE|BIGU", ("HEAD",)),
    Part("PITUITARY", "垂体|鞍区|蝶鞍|PITUITARY|SELLA|SELLAR", ("HEAD",)),
    Part("HIPPOCAMPUS", "海马|HIPPOCAMPUS|HIPPOCAMPAL", ("HEAD",)),
    Part("CRANIALNERVE", "三叉神经|面神经|听神经|视神经|桥小脑角|CPA|TRIGEMINAL|OPTIC NERVE", ("HEAD",)),
    Part(
        "FACE",
        "颌面部?|面部|面颅|上颌骨?|下颌骨?|颞下颌关节?|颞颌关节?|颧骨|口腔|牙齿|牙|MAXILLOFACIAL|FACIAL BONES"
        "|FACIAL BONE|FACIAL|FACE|MANDIBLE|MAXILLA|JAW|TMJ|TEMPOROMANDIBULAR|ZYGOMA|DENTAL|TEETH|TOOTH",
        ("HEAD",),
    ),
    Part("SALIVARY", "腮腺|颌下腺|涎腺|PAROTID|SALIVARY", ("HEAD", "NECK")),
    # Neck
    Part("HEADNECK", "头颈部?|HEADNECK", ()),
    Part("NECK", "颈部|颈(?![椎动静内总部髓段胸腰血项肩])|NECK|NECKS|JINGBU"),
    Part("PHARYNX", "鼻咽部?|口咽|咽喉|咽|喉部?|NASOPHARYNX|PHARYNX|LARYNX", ("NECK",)),
    Part("THYROID", "甲状旁腺|甲状腺|THYROID|PARATHYROID", ("NECK",)),
    Part(
        "CAROTID",
        "颈动脉|颈内动脉|颈总动脉|颈部血管|颈部动脉|颈血管|椎动脉|CAROTID|CAROTIDS|VERTEBRAL ARTERY",
        ("NECK",),
    ),
    # Spine
    Part(
        "CSPINE",
        "颈椎间盘|颈椎|颈髓|颈段脊髓|CERVICAL SPINE|CERVICAL|C SPINE|CSP|JINGZHUI",
        ("SPINE", "NECK"),
    ),
    Part(
        "TSPINE",
        "胸椎间盘|胸椎|胸髓|胸段脊髓|THORACIC SPINE|SPINE THORACIC|DORSAL SPINE|T SPINE|TSP|XIONGZHUI",
        ("SPINE", "CHEST"),
    ),
    Part(
        "LSPINE",
        "腰椎间盘|腰间盘|腰骶椎|腰椎|腰段脊髓|LUMBAR SPINE|LUMBAR|LUMBOSACRAL SPINE|LUMBOSACRAL|LUMBO SACRAL|L SPINE"
        "|LS SPINE|L S SPINE|L/S SPINE|LSSPINE|LSP|YAOZHUI",
        ("SPINE", "ABDOMEN"),
    ),
    Part("CTSPINE", "颈胸椎|颈胸段|CTSPINE|CERVICOTHORACIC", ("SPINE",)),
    Part("TLSPINE", "胸腰椎|胸腰段|TLSPINE|THORACOLUMBAR|TL SPINE|T/L SPINE", ("SPINE",)),
    Part(
        "CRANIOCERVICAL",
        "颅颈交界区?|寰枢关节|寰枢椎|寰枢|CRANIOCERVICAL|ATLANTOAXIAL",
        ("SPINE", "HEAD", "NECK"),
    ),
    Part(
        "SACRUM", "骶尾椎|骶尾骨|骶尾部|骶椎|骶骨|尾椎|尾骨|SACRUM|SACRAL|COCCYX|SSPINE", ("SPINE", "PELVIS")
    ),
    Part(
        "SIJOINT",
        "骶髂关节|骶髂|SACROILIAC JOINT|SACROILIAC JOINTS|SACROILIAC|SI JOINT|SI JOINTS",
        ("PELVIS",),
    ),
    Part("SPINE", "脊柱|脊椎|SPINE|SPINES|SPINAL"),
    # Chest
    Part(
        "CHEST",
        "胸部|胸廓|胸(?![痛闷骨锁壁膜椎腺水主导髓段腰大])|双肺|两肺|肺部|肺(?![动静功])|CHEST|THORAX|THOR|LUNG|LUNGS"
        "|CXR|XIONGBU|FEIBU",
    ),
    Part("RIB", "肋骨|肋软骨|肋|RIB|RIBS|LEIGU", ("CHEST",)),
    Part("STERNUM", "胸锁关节|胸骨|胸锁|STERNUM|STERNAL|STERNOCLAVICULAR", ("CHEST",)),
    Part("CHESTWALL", "胸壁|胸膜|胸腺|CHEST WALL", ("CHEST",)),
    Part("MEDIASTINUM", "纵隔|气管|支气管|MEDIASTINUM|TRACHEA|BRONCHUS", ("CHEST",)),
    Part("ESOPHAGUS", "食管|食道|ESOPHAGUS|OESOPHAGUS", ("CHEST",)),
    Part("CLAVICLE", "锁骨|CLAVICLE|CLAVICLES", ("CHEST",)),
    Part("SCAPULA", "肩胛骨|肩胛|SCAPULA", ("CHEST",)),
    Part("ACJOINT", "肩锁关节|肩锁|AC JOINT|AC JOINTS|ACROMIOCLAVICULAR", ("CHEST",)),
    Part("HEART", "心脏|心肌|心功能|HEART|CARDIAC|CMR|XINZANG", ("CHEST",)),
    Part(
        "CORONARYARTERY",
        "冠状动脉|冠脉|心脏冠脉|心脏冠状动脉|CORONARY ARTERY|CORONARY ARTERIES|CORONARYARTERY|CORONARY"
        "|CORONARIES|COR(?= ?CTA)|COR(?= ?ANGIO)|GUANMAI",
        ("HEART", "CHEST"),
    ),
    Part("BYPASSGRAFT", "搭桥|桥血管|CABG|BYPASS GRAFTS?|BYPASS", ("CORONARYARTERY", "HEART", "CHEST")),
    Part(
        "PULMONARYARTERY",
        "肺动脉|PULMONARY ARTERY|PULMONARY ARTERIES|PULMONARY(?= ?ANGIO)|PULMONARY(?= ?CTA)|PULM(?= ?ANGIO)|PULM(?= ?CTA)",
        ("CHEST",),
    ),
    Part(
        "PULMONARYVEIN",
        "肺静脉|左心房|左心耳|左房|PULMONARY VEIN|PULMONARY VEINS|LEFT ATRIUM",
        ("HEART", "CHEST"),
    ),
    Part("BREAST", "乳腺|乳房|乳头|乳|BREAST|BREASTS|MAMMARY|RUXIAN", ("CHEST",)),
    # Great vessels
    Part(
        "AORTA",
        "胸腹主动脉|全程主动脉|全主动脉|主动脉夹层|主动脉|AORTA|AORTIC|ZHUDONGMAI",
        ("CHEST", "ABDOMEN"),
    ),
    Part(
        "THORACICAORTA",
        "胸主动脉|升主动脉|主动脉弓|CHEST AORTA|THORACIC AORTA|AORTIC ARCH|ASCENDING AORTA",
        ("AORTA", "CHEST"),
    ),
    Part("ABDOMINALAORTA", "腹主动脉|ABDOMINAL AORTA", ("AORTA", "ABDOMEN")),
    Part("RENALARTERY", "肾动脉|RENAL ARTERY|RENAL ARTERIES", ("ABDOMEN",)),
    Part(
        "ABDOMINALVESSEL",
        "肠系膜上?动脉|腹腔干|腹部血管|腹腔动脉|门静脉(?!期)|门脉(?!期)|下腔静脉|髂动脉|髂静脉|髂血管|肝动脉|MESENTERIC"
        "|PORTAL VEIN|ILIAC|INFERIOR VENA CAVA|IVC",
        ("ABDOMEN",),
    ),
    # Abdomen and pelvis
    Part(
        "ABDOMEN",
        "全腹部?|上下腹部?|上中腹部?|中上腹部?|上腹部?|腹部|肝胆胰脾双?肾?|肝胆脾胰双?肾?|肝胆胰|肝胆脾"
        "|腹(?![股膜壁主泻水痛腔])|ABDOMEN|ABDOMINAL|ABDOM|ABDO|ABD|UPPER ABDOMEN|UPPER ABD|FUBU|QUANFU|SHANGFU",
    ),
    Part("LOWERABDOMEN", "中下腹部?|下腹部?|中腹部?|LOWER ABDOMEN|LOWER ABD", ("ABDOMEN",)),
    Part(
        "LIVER",
        "肝脏|肝胆|胆胰|肝(?!动)|胆囊|胰腺|胰[头体尾]部?|胰|脾脏|脾|LIVER|HEPATIC|PANCREAS|PANCREATIC|GALLBLADDER|SPLEEN",
        ("ABDOMEN",),
        {"CT": "ABDOMEN", "MR": "ABDOMEN"},
    ),
    Part("BILEDUCT", "胰胆管|胆胰管|胆管|胆道|BILE DUCT|BILE DUCTS|BILIARY|BILEDUCT", ("ABDOMEN",)),
    Part(
        "KIDNEY",
        "泌尿系统?|泌尿道|尿路|双肾|肾脏|肾(?![上动])|输尿管|KUB|KIDNEY|KIDNEYS|RENAL|URINARY TRACT|URINARY|URETER|URETERS",
        ("ABDOMEN", "PELVIS"),
    ),
    Part("ADRENAL", "肾上腺|ADRENAL|ADRENALS", ("ABDOMEN",)),
    Part(
        "BOWEL",
        "胃肠道?|消化道|胃|十二指肠|小肠|结肠|大肠|阑尾|肠道|腹腔|腹股沟|腹壁|腹膜后?|STOMACH|COLON|BOWEL"
        "|ENTEROGRAPHY|APPENDIX",
        ("ABDOMEN",),
    ),
    Part("PELVIS", "女性盆腔|男性盆腔|盆腔|盆部|盆(?!底)|PELVIS|PELVIC|PELV|PEL|PENQIANG"),
    Part(
        "BONYPELVIS",
        "骨盆|髋臼|髂骨|髂嵴|耻骨联合|耻骨|坐骨(?!神)|BONY PELVIS|PELVIS BONES?|PELVIC BONES?|BONE PELVIS|ACETABULUM|GUPEN",
        ("PELVIS",),
        {"XR": "PELVIS"},
    ),
    Part("PROSTATE", "前列腺|PROSTATE|PROSTATIC|QIANLIEXIAN", ("PELVIS",)),
    Part(
        "UTERUS", "子宫附件|子宫|附件|卵巢|宫颈|UTERUS|UTERINE|OVARY|OVARIES", ("PELVIS",), {"MR": "PELVIS"}
    ),
    Part("RECTUM", "直肠|肛管|肛周|肛门|RECTUM|RECTAL|ANAL|ANUS", ("PELVIS",)),
    Part("BLADDER", "膀胱|BLADDER", ("PELVIS",)),
    Part("GENITAL", "睾丸|阴囊|阴茎|精囊|SCROTUM|TESTIS|TESTES|PENIS", ("PELVIS",)),
    Part("FETUS", "胎儿|胎盘|FETAL|FETUS", ("PELVIS",)),
    # Limbs
    Part("EXTREMITY", "四肢关节|四肢|EXTREMITY|EXTREMITIES|LIMB|LIMBS"),
    Part("SHOULDER", "肩关节|肩袖|肩部|肩(?![胛锁])|SHOULDER|SHOULDERS|JIANGUANJIE", _LIMB, _JOINT),
    Part("ELBOW", "肘关节|肘部|肘|ELBOW|ELBOWS|ZHOUGUANJIE", _LIMB, _JOINT),
    Part("WRIST", "腕关节|手腕|腕部|腕|WRIST|WRISTS|WANGUANJIE", _LIMB, _JOINT),
    Part("HAND", "手部|手掌|手(?![术法动足指腕])|HAND|HANDS", _LIMB, _JOINT),
    Part("HIP", "髋关节|髋部|髋|HIP|HIPS|KUANGUANJIE", ("EXTREMITY", "PELVIS"), _JOINT),
    Part("KNEE", "膝关节|半月板|膝部|膝|KNEE|KNEES|XIGUANJIE", _LIMB, _JOINT),
    Part("ANKLE", "踝关节|踝部|踝|ANKLE|ANKLES|HUAIGUANJIE", _LIMB, _JOINT),
    Part("FOOT", "足部|足(?![月够底踝趾跟])|FOOT|FEET", _LIMB, _JOINT),
    Part("FOOTANKLE", "足踝部?|FOOT ANKLE", _LIMB),
    Part("FINGER", "手指|拇指|食指|中指|环指|小指|指骨|掌指|FINGER|FINGERS|THUMB", _LIMB),
    Part("TOE", "足趾|趾|TOE|TOES", _LIMB),
    Part("HEEL", "跟骨|足跟|CALCANEUS|HEEL|HEELS", _LIMB),
    Part("PATELLA", "髌骨|髌|PATELLA", _LIMB),
    Part("FEMUR", "股骨头|股骨颈|股骨|大腿|FEMORAL HEAD|FEMORAL NECK|FEMUR|FEMORAL|THIGH", _LIMB),
    Part(
        "LOWERLEG", "胫腓骨|胫骨|腓骨|小腿|TIBIA FIBULA|TIB FIB|TIBIA|FIBULA|LOWER LEG|CALF|LEG|LEGS", _LIMB
    ),
    Part("HUMERUS", "肱骨|上臂|HUMERUS|HUMERAL HEAD|UPPER ARM|ARM", _LIMB),
    Part("FOREARM", "尺桡骨|桡骨头|桡骨|尺骨|前臂|FOREARM|RADIUS|RADIAL HEAD|ULNA", _LIMB),
    Part("LOWERLIMB", "双下肢|下肢|LOWER EXTREMITY|LOWER EXTREMITIES|LOWER LIMB|LOWER LIMBS|RUNOFF", _LIMB),
    Part("UPPERLIMB", "双上肢|上肢|UPPER EXTREMITY|UPPER EXTREMITIES|UPPER LIMB|UPPER LIMBS", _LIMB),
    # Elsewhere
    Part("PARASPINAL", "颈椎旁|胸椎旁|腰椎旁|椎旁|脊柱旁|PARASPINAL|PARAVERTEBRAL"),
    Part("PLEXUS", "臂丛神经?|腰骶丛|骶丛|神经根|BRACHIAL PLEXUS|PLEXUS"),
    Part("SOFTTISSUE", "皮下|肿物|软组织肿块|体表"),
    Part("WHOLEBODY", "全身|WHOLE BODY|WHOLEBODY|TOTAL BODY"),
)

COMBINATIONS: Final[dict[str, tuple[str, ...]]] = {
    "颈胸腰椎|颈、?胸、?腰椎|CTL SPINE|C/T/L SPINE": ("CSPINE", "TSPINE", "LSPINE"),
    "颈腰椎|颈[、,/+]腰椎": ("CSPINE", "LSPINE"),
    "颈[、,/+]胸椎": ("CSPINE", "TSPINE"),
    "胸[、,/+]腰椎": ("TSPINE", "LSPINE"),
    "头颈胸部?": ("HEAD", "NECK", "CHEST"),
    "头胸部?": ("HEAD", "CHEST"),
    "颈胸部|颈胸(?=[CM平增])": ("NECK", "CHEST"),
    "颈胸腹部?": ("NECK", "CHEST", "ABDOMEN"),
    "胸腹盆腔?部?|胸部?、?全?腹部?、?盆腔|CAP|TAP|C/A/P|CHESTABDPELVIS|CHEST ABD PELVIS|CHEST TO PELVIS": (
        "CHEST",
        "ABDOMEN",
        "PELVIS",
    ),
    "胸腹部?(?!主)|胸上腹部?|胸全腹部?|CHESTABDOMEN|CHESTABD|THORABD": ("CHEST", "ABDOMEN"),
    "腹盆腔?部?|全腹盆腔?部?|上?腹部?盆腔|ABDOMENPELVIS|ABDPELVIS|ABDPELV|ABDPEL|ABD PELVIS|ABD PEL": (
        "ABDOMEN",
        "PELVIS",
    ),
    "NECKCHEST": ("NECK", "CHEST"),
    "NECKCHESTABDOMEN": ("NECK", "CHEST", "ABDOMEN"),
    "NECKCHESTABDPELV|NECKCHESTABDPELVIS|NCAP": ("NECK", "CHEST", "ABDOMEN", "PELVIS"),
}

NEIGHBOURS: Final = frozenset(
    frozenset(pair)
    for pair in (
        ("ABDOMEN", "PELVIS"),
        ("HEAD", "NECK"),
        ("HEADNECK", "HEAD"),
        ("HEADNECK", "NECK"),
        ("HEADNECK", "CAROTID"),
        ("HAND", "WRIST"),
        ("FOOT", "ANKLE"),
        ("LSPINE", "PELVIS"),
        ("LSPINE", "SACRUM"),
        ("BONYPELVIS", "HIP"),
        *(("SKULL", inner) for inner in ("SINUS", "EAR", "IAC", "ORBIT", "NOSE", "FACE")),
        *(("FACE", inner) for inner in ("SINUS", "ORBIT", "NOSE")),
        ("BILEDUCT", "LIVER"),
        *(("LOWERLIMB", inner) for inner in ("HIP", "KNEE", "ANKLE", "FOOT", "FEMUR", "LOWERLEG")),
        *(("UPPERLIMB", inner) for inner in ("SHOULDER", "ELBOW", "WRIST", "HAND", "HUMERUS", "FOREARM")),
        *(("LOWERLEG", inner) for inner in ("KNEE", "ANKLE", "FOOT")),
        *(("FEMUR", inner) for inner in ("HIP", "KNEE")),
        *(("HUMERUS", inner) for inner in ("SHOULDER", "ELBOW")),
        *(("FOREARM", inner) for inner in ("ELBOW", "WRIST")),
        ("HAND", "FINGER"),
        ("FOOT", "TOE"),
        ("FOOT", "HEEL"),
        ("ANKLE", "HEEL"),
        ("FOOT", "FOOTANKLE"),
        ("ANKLE", "FOOTANKLE"),
    )
)

_BY_CODE: Final = {part.code: part for part in PARTS}


def lies_within(inner: str, outer: str) -> bool:
    """Return whether a part lies in another one."""
    part = _BY_CODE.get(inner)
    return part is not None and (outer in part.within or any(lies_within(p, outer) for p in part.within))


def may_be_same(one: str, other: str) -> bool:
    """Return whether two names can belong to one examination: same, one inside the other, or neighbours."""
    return (
        one == other
        or lies_within(one, other)
        or lies_within(other, one)
        or frozenset({one, other}) in NEIGHBOURS
    )


def listed_part(code: str, device: str) -> str:
    """Return the part as which the device examines this one; `device` is XR, MG, CT or MR."""
    part = _BY_CODE.get(code)
    return part.stands_for.get(device, code) if part else code
